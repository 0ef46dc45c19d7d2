"""Builder and runtime base images: built from a recipe with Docker, once per change of content."""

from __future__ import annotations

import dataclasses
import io
import tarfile
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fleet.build.cache import locked
from fleet.build.send_image import DOCKERFILE, send_starts
from fleet.build.wheels import fetch_wheels
from fleet.errors import BuildError
from fleet.ports import ContainerHost, LogLine
from fleet.resolve.desired import Recipe

LOCAL_REPOSITORY = "jetfleet/bases"
LABEL_RECIPE = "io.jetfleet.recipe"
LABEL_PROFILE = "io.jetfleet.profile"
LABEL_KIND = "io.jetfleet.kind"

BUILT, PRESENT = "built", "present"

Wheels = Callable[[Recipe], Path]

_LOCK_S = 3600.0
_SPOOL_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class BaseImage:
    """Where the image of a recipe is."""

    recipe: Recipe
    local: str
    """Its tag on the Engine, ``jetfleet/bases:<Recipe.tag>``."""
    how: str
    """built (just now) | present (on the Engine already)."""
    seconds: float


def local_tag(recipe: Recipe) -> str:
    """Return the name of the recipe's image on an Engine."""
    return f"{LOCAL_REPOSITORY}:{recipe.tag}"


def ensure_base(
    host: ContainerHost,
    recipe: Recipe,
    *,
    wheels: Wheels = fetch_wheels,
    on_log: LogLine | None = None,
    starts_of: ContainerHost | None = None,
) -> BaseImage:
    """Make sure that the image of ``recipe`` exists, building it at most once.

    It is built there rather than pulled, because the Engine may neither trust nor have credentials for the registry.
    What it starts from the Engine pulls, or gets from ``starts_of`` when it is given. Raises DockerError, BuildError.
    """
    started = time.monotonic()
    tag = local_tag(recipe)

    def done(how: str) -> BaseImage:
        return BaseImage(recipe, tag, how, time.monotonic() - started)

    if _is_present(host, recipe):
        return done(PRESENT)
    with locked(f"image-{recipe.tag}", f"building the image {recipe.tag}", deadline_s=_LOCK_S):
        if _is_present(host, recipe):
            return done(PRESENT)
        _build(host, recipe, wheels, on_log, starts_of)
    return done(BUILT)


def _is_present(host: ContainerHost, recipe: Recipe) -> bool:
    """A tag alone is not enough: anybody can move one."""
    labels = host.image_labels(local_tag(recipe))
    return labels is not None and labels.get(LABEL_RECIPE) == recipe.digest


def _build(
    host: ContainerHost, recipe: Recipe, wheels: Wheels, on_log: LogLine | None, starts_of: ContainerHost | None
) -> None:
    platform = host.info().platform
    if platform != recipe.profile.platform:
        raise BuildError(
            f"the builder {host.endpoint} of profile {recipe.profile.name} is {platform}, "
            f"but the profile is {recipe.profile.platform}",
            hint="set builder.endpoint of the profile to a machine of its platform: ssh://user@jetson",
        )
    files = dict(recipe.files)
    if starts_of is not None:
        files[DOCKERFILE] = send_starts(starts_of, host, recipe, on_log)
    if on_log is not None:
        on_log(f"fetching {len(recipe.requirements)} wheels for {recipe.profile.platform}")
    labels = {LABEL_RECIPE: recipe.digest, LABEL_PROFILE: recipe.profile.name, LABEL_KIND: recipe.kind}
    with build_context(dataclasses.replace(recipe, files=files), wheels(recipe)) as context:
        host.build_image(context, local_tag(recipe), labels=labels, on_log=on_log)


def build_context(recipe: Recipe, wheels: Path) -> BinaryIO:
    """Return the build context as an uncompressed tar, positioned at its start: sorted, no times, owned by root."""
    spool = tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES)  # noqa: SIM115  (handed to the caller)
    with tarfile.open(fileobj=spool, mode="w") as tar:
        for path in sorted(recipe.files):
            content = recipe.files[path]
            tar.addfile(_entry(path, len(content)), io.BytesIO(content))
        for wheel in sorted(wheels.iterdir()):
            with wheel.open("rb") as file:
                tar.addfile(_entry(f"wheels/{wheel.name}", wheel.stat().st_size), file)
    spool.seek(0)
    return spool  # type: ignore[return-value]  # has BinaryIO's methods, but not its base class


def _entry(path: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.size, entry.mode = size, 0o644
    return entry
