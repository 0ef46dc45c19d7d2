"""Building a base image, uploading it and, in a signed fleet, attesting it: for `build`, `publish` and `ci build`."""

from __future__ import annotations

from fleet.build.image import ensure_base, local_tag
from fleet.cli.provenance import attests_base, builders_of
from fleet.cli.ui.activity import Activity
from fleet.cli.ui.console import short
from fleet.cli.wiring import Wiring
from fleet.publish.base import upload_base
from fleet.resolve.desired import Recipe


def publish_base(wiring: Wiring, recipe: Recipe, shown: Activity) -> str:
    """Build the image of a recipe where it is missing and upload it; return its digest in the registry."""

    def log(line: str) -> None:
        shown.update(recipe.tag, f"{recipe.kind} image for {recipe.profile.name}: {line[:100]}")

    builders, started = builders_of(wiring), wiring.clock.now()
    if builders is not None:
        builders.key()  # before minutes of building end in a key that counts for nothing
    host = wiring.host_of(recipe.profile)
    ensure_base(host, recipe, on_log=log)
    digest = upload_base(
        wiring.registry,
        f"{wiring.desired.registry.prefix}/bases",
        recipe.tag,
        host.export_image(local_tag(recipe)),
        on_log=log,
        attest=attests_base(wiring, recipe, started),
    )
    shown.done(recipe.tag, f"{recipe.kind} image for {recipe.profile.name} is {short(digest)}")
    return digest
