"""`fleet validate`: is the manifest right? Reads files only; no network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console

from fleet.cli import options
from fleet.cli.ui.console import emit, many, plain, short, table
from fleet.cli.wiring import Wiring
from fleet.errors import FleetError
from fleet.manifest.placeholders import placeholders
from fleet.resolve.desired import Desired
from fleet.signing.allowed_signers import known_keys
from fleet.signing.provenance import PROVENANCE
from fleet.signing.roots import chain_of


def run(manifest: options.ManifestOption = options.DEFAULT_MANIFEST, as_json: options.Json = False) -> None:
    """Check the manifest and every file that it names; show a summary."""
    wiring = Wiring(manifest)
    desired = wiring.desired
    said = [*placeholders(wiring.loaded), *_root_notes(wiring), *notes(desired)]
    emit(as_json, document(desired) | {"notes": said}, lambda console: _render(console, desired, said))


def document(desired: Desired) -> dict[str, object]:
    """Return what the manifest comes to, as JSON values."""
    return {
        "fleet": desired.fleet,
        "version": desired.version,
        "registry": desired.registry.address,
        "robots": len(desired.robots),
        "engines": [
            {"model": engine.model, "precision": engine.precision, "profile": engine.profile.name, "key": engine.key}
            for engine in desired.engines.values()
        ],
        "variants": [
            {"name": variant.name, "robots": sum(robot.variant == variant.name for robot in desired.robots)}
            for variant in desired.variants.values()
        ],
        "tags": dict(desired.tags),
    }


def _root_notes(wiring: Wiring) -> Iterator[str]:
    """Yield why robots would not be brought this manifest's trust: no root is signed, or it is another one's."""
    if wiring.desired.trust.unsigned:
        return
    try:
        chain_of(wiring.root_standing)
    except FleetError as error:
        yield f"trust: {error.message}, so fleet bootstrap and fleet keys push refuse: {error.hint}"


def notes(desired: Desired) -> Iterator[str]:
    """Yield what is right and still to be known: shapes that an engine does not have, a fleet without builders."""
    trust = desired.trust
    if trust.signers is not None and known_keys(trust.builders or trust.signers, PROVENANCE, authorities=True) == ():
        yield (
            "no builder may attest builds, so nothing can be published: name builders in trust/builders, a file with "
            "lines "
            f'such as: name@example.com namespaces="{PROVENANCE}" ssh-ed25519 AAAA… (docs/provenance.md)'
        )
    for engine in desired.engines.values():
        for spec in engine.job.inputs if engine.profile.backend == "onnxruntime" else ():
            if spec.max_shape:
                yield (
                    f"{engine.model} {engine.precision} on {engine.profile.name} takes {spec.name} as "
                    f"{list(spec.shape)} alone: shape_range is for TensorRT, ONNX Runtime's engines have one shape"
                )


def _render(console: Console, desired: Desired, said: Sequence[str]) -> None:
    console.print(
        f"[bold]{desired.fleet} {desired.version}[/]: {many(len(desired.robots), 'robot')}, "
        f"{many(len(desired.variants), 'variant')}, {many(len(desired.engines), 'engine')}. The manifest is valid."
    )
    robots: dict[str, int] = {}
    for robot in desired.robots:
        robots[robot.variant] = robots.get(robot.variant, 0) + 1
    rows = table("variant", "robots", "engines")
    for variant in desired.variants.values():
        engines = ", ".join(f"{e.model} {e.precision} ({short(e.key)})" for e in variant.engines)
        rows.add_row(variant.name, str(robots.get(variant.name, 0)), engines)
    console.print(rows)
    for note in said:
        console.print(f"note: {plain(note)}")
