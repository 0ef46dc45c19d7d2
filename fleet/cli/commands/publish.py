"""`fleet publish`: base images, variant images, and the release that names them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from fleet.cli import options
from fleet.cli.base_image import publish_base
from fleet.cli.provenance import attested_by, builders_of, checked_engines
from fleet.cli.ui.activity import activity
from fleet.cli.ui.console import Stopwatch, emit, plain, short, table
from fleet.cli.ui.signature_view import Standing, publish_key, sign_release
from fleet.cli.wiring import Wiring
from fleet.plan.diff import runtime_recipes
from fleet.publish.lookup import look_up
from fleet.publish.publish import Published, compose_names, publish
from fleet.resolve.data_files import data_dir
from runtime.contract.robot.trust import document_digest


def run(manifest: options.ManifestOption = options.DEFAULT_MANIFEST, as_json: options.Json = False) -> None:
    """Assemble the images that the registry lacks, and publish the manifest's version. Safe to run again."""
    wiring = Wiring(manifest)
    watch = Stopwatch()
    key = publish_key(wiring)
    with activity() as shown:
        shown.update("publish", f"asking {wiring.desired.registry.host}")
        facts = look_up(wiring.registry, wiring.desired, builders_of(wiring))
        engines = checked_engines(wiring, facts, shown)
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
    attested = attested_by(facts)
    document = _document(published, watch.seconds) | standing.document() | {"attested_by": attested}
    emit(as_json, document, lambda console: _render(console, published, watch, standing, attested))


def compose_files(wiring: Wiring) -> Mapping[str, str]:
    """Return the compose files that the fleet's profiles need: name → content."""
    names = {name for variant in wiring.desired.variants.values() for name in compose_names(variant.profile)}
    folder = data_dir("compose")
    return {name: (folder / name).read_text(encoding="utf-8") for name in sorted(names)}


def _document(published: Published, seconds: float) -> dict[str, Any]:
    release = published.release
    return {
        "fleet": release.document.fleet,
        "version": release.version,
        "release": release.digest,
        "document": document_digest(release.text),
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


def _render(console: Console, published: Published, watch: Stopwatch, standing: Standing, attested: list[str]) -> None:
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
    if standing.unsigned:
        console.print("unsigned: no builder attests its engines and base images")
    elif attested:
        console.print(plain(f"engines and base images attested by {', '.join(attested)}"))
