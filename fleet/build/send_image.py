"""What a builder image starts from, sent from this machine's Engine to one that cannot pull it."""

from __future__ import annotations

import re

from fleet.errors import BuildError
from fleet.ports import ContainerHost, LogLine
from fleet.resolve.desired import Recipe

DOCKERFILE = "Dockerfile"
_FROM = re.compile(r"^FROM (?:--\S+ )*(?P<image>\S+)(?: AS (?P<stage>\S+))?$", re.MULTILINE | re.IGNORECASE)


def starts(dockerfile: str) -> list[str]:
    """Return the images that a Dockerfile starts from, each once; stages of its own are none."""
    stages: set[str] = set()
    found: list[str] = []
    for match in _FROM.finditer(dockerfile):
        if match["image"] not in stages and match["image"] not in found:
            found.append(match["image"])
        if match["stage"]:
            stages.add(match["stage"])
    return found


def send_starts(source: ContainerHost, target: ContainerHost, recipe: Recipe, on_log: LogLine | None) -> bytes:
    """Send what ``target`` lacks of the images that the recipe starts from; return the Dockerfile to build there.

    `docker load` gives an image no digest of a registry, so one that is named by its digest is named by its id there:
    the id is a digest over the same content. Raises DockerError, BuildError.
    """
    text = recipe.files[DOCKERFILE].decode("utf-8")
    for image in starts(text):
        if image == "scratch" or target.image_id(image) is not None:
            continue
        identity = _here(source, image, recipe, on_log)
        if on_log is not None:
            on_log(f"sending {image} from this machine to {target.endpoint}")
        target.load_image(source.export_image(image))
        if target.image_id(image) == identity:
            continue
        if target.image_id(identity) != identity:
            raise BuildError(
                f"{image} was sent to {target.endpoint}, but is not there as {identity[:19]}…",
                hint="its Engine keeps images otherwise than this machine's: `docker pull` it there",
            )
        text = _renamed(text, image, identity)
    return text.encode("utf-8")


def _here(source: ContainerHost, image: str, recipe: Recipe, on_log: LogLine | None) -> str:
    platform = source.info().platform
    if source.image_id(image) is None and platform == recipe.profile.platform:
        source.pull(image, on_log)
    identity = source.image_id(image)
    if identity is None:
        raise BuildError(
            f"this machine does not have {image}, and is {platform}, so that it would pull another one",
            hint=f"`docker pull --platform {recipe.profile.platform} {image}` here, then run it again",
        )
    return identity


def _renamed(text: str, image: str, identity: str) -> str:
    def rename(match: re.Match[str]) -> str:
        return match[0].replace(image, identity, 1) if match["image"] == image else match[0]

    return _FROM.sub(rename, text)
