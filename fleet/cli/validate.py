"""`fleet validate`: is the manifest right? Reads files only; no network."""

from __future__ import annotations

from rich.console import Console

from fleet.cli import options
from fleet.cli.console import emit, many, short, table
from fleet.cli.wiring import Wiring
from fleet.resolve.desired import Desired

NAME = "validate"


def run(manifest: options.Manifest = options.DEFAULT_MANIFEST, as_json: options.Json = False) -> None:
    """Check the manifest and every file that it names; show what it comes to."""
    desired = Wiring(manifest).desired
    emit(as_json, document(desired), lambda console: _render(console, desired))


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


def _render(console: Console, desired: Desired) -> None:
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
