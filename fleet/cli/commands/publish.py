"""`fleet publish`: base images, variant images, and the release that names them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from fleet.build.image import ensure_base, local_tag
from fleet.cli import options
from fleet.cli.ui.console import Activity, Stopwatch, activity, emit, many, plain, short, table
from fleet.cli.ui.robots import side_by_side
from fleet.cli.ui.signature_view import Standing, publish_key, sign_release
from fleet.cli.wiring import Wiring
from fleet.errors import UsageError
from fleet.plan.diff import runtime_recipes
from fleet.plan.registry_facts import RegistryFacts
from fleet.publish.artifact import EngineArtifact, engine_artifact, read_report
from fleet.publish.base import upload_base
from fleet.publish.gates import check_gates
from fleet.publish.lookup import look_up
from fleet.publish.publish import Published, compose_names, publish
from fleet.resolve.data_files import data_dir
from fleet.resolve.desired import Recipe


def run(manifest: options.ManifestOption = options.DEFAULT_MANIFEST, as_json: options.Json = False) -> None:
    """Assemble the images that the registry lacks, and publish the manifest's version. Safe to run again."""
    wiring = Wiring(manifest)
    watch = Stopwatch()
    key = publish_key(wiring)
    with activity() as shown:
        shown.update("publish", f"asking {wiring.desired.registry.host}")
        facts = look_up(wiring.registry, wiring.desired)
        engines = _engines(wiring, facts)
        bases = {
            recipe.tag: facts.bases[recipe.tag] or publish_base(wiring, recipe, shown)
            for recipe in runtime_recipes(wiring.desired)
        }
        published = publish(
            wiring.desired,
            wiring.registry,
            engines,
            bases,
            compose_files(wiring),
            on_progress=lambda line: shown.update("publish", line),
        )
    standing = sign_release(wiring, published.release, key)
    document = _document(published, watch.seconds) | standing.document()
    emit(as_json, document, lambda console: _render(console, published, watch, standing))


def publish_base(wiring: Wiring, recipe: Recipe, shown: Activity) -> str:
    """Build the image of a recipe where it is missing and upload it; return its digest in the registry."""

    def log(line: str) -> None:
        shown.update(recipe.tag, f"{recipe.kind} image for {recipe.profile.name}: {line[:100]}")

    host = wiring.host_of(recipe.profile)
    ensure_base(host, recipe, on_log=log)
    repository = f"{wiring.desired.registry.prefix}/bases"
    digest = upload_base(wiring.registry, repository, recipe.tag, host.export_image(local_tag(recipe)), on_log=log)
    shown.done(recipe.tag, f"{recipe.kind} image for {recipe.profile.name} is {short(digest)}")
    return digest


def compose_files(wiring: Wiring) -> Mapping[str, str]:
    """Return the compose files that the fleet's profiles need: name → content."""
    names = {name for variant in wiring.desired.variants.values() for name in compose_names(variant.profile)}
    folder = data_dir("compose")
    return {name: (folder / name).read_text(encoding="utf-8") for name in sorted(names)}


def _engines(wiring: Wiring, facts: RegistryFacts) -> Mapping[str, EngineArtifact]:
    missing = facts.missing_engines()
    if missing:
        specs = [wiring.desired.engines[key] for key in missing]
        names = ", ".join(f"{spec.model} {spec.precision} for {spec.profile.name}" for spec in specs[:5])
        raise UsageError(
            f"not built yet: {many(len(missing), 'engine')}: {names}", hint="run fleet build, then this again"
        )
    repository = f"{wiring.desired.registry.prefix}/engines"
    tags = {key: spec.tag for key, spec in wiring.desired.engines.items()}
    found = side_by_side(lambda key: engine_artifact(wiring.registry, repository, tags[key]), list(tags))
    artifacts = {key: artifact for key, artifact in found.items() if artifact is not None}
    reports = side_by_side(lambda key: read_report(wiring.registry, repository, artifacts[key]), list(artifacts))
    check_gates({key: wiring.desired.engines[key] for key in reports}, reports)
    return artifacts


def _document(published: Published, seconds: float) -> dict[str, Any]:
    release = published.release
    return {
        "fleet": release.document.fleet,
        "version": release.version,
        "release": release.digest,
        "already_published": published.already_published,
        "images": [
            {
                "variant": variant.name,
                "image": variant.image,
                "bytes": variant.image_bytes,
                "pushed": variant.name in published.pushed,
                "tags": [suffix for suffix, name in release.document.tags.items() if name == variant.name],
            }
            for variant in release.document.variants
        ],
        "seconds": round(seconds, 1),
    }


def _render(console: Console, published: Published, watch: Stopwatch, standing: Standing) -> None:
    rows = table("image", "digest", "", "engines")
    for variant in published.release.document.variants:
        engines = ", ".join(f"{engine.model} {engine.precision}" for engine in variant.engines)
        done = "[green]assembled[/]" if variant.name in published.pushed else "[dim]in the registry already[/]"
        rows.add_row(variant.name, short(variant.image), done, engines)
    console.print(rows)
    release = published.release
    done = "was published already, with this content" if published.already_published else "is published"
    console.print(f"release [bold]{release.version}[/] ({short(release.digest)}) {done}, {watch}")
    console.print(plain(standing.line(release.version)))
