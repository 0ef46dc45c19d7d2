"""What `fleet init` writes for the user to replace, and how `fleet validate` finds what is still there."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

from fleet.manifest.load import LoadedManifest

REGISTRY = "registry.example"
ROBOT_HOST = "robot-001.local"
NOISE = b"jetfleet init: noise, to be replaced by frames of the camera"
"""Comment of the archive that `init` writes as golden data: any other file is the user's own."""


def mark_as_noise(golden: Path) -> None:
    """Mark golden data as made up. The arrays in it stay as they are."""
    with zipfile.ZipFile(golden, "a") as archive:
        archive.comment = NOISE


def placeholders(loaded: LoadedManifest) -> Iterator[str]:
    """Yield a sentence for everything of `fleet init` that is still there, with the key to correct."""
    manifest = loaded.manifest
    if manifest.registry.host.partition(":")[0] == REGISTRY:
        yield f"registry: {manifest.registry.address} is a placeholder: name a registry that robots and you can reach"
    for index, robot in enumerate(manifest.robots):
        if robot.host == ROBOT_HOST:
            yield f"robots/{index}/host: {robot.host} is a placeholder: name or address of a robot of yours"
    for name, model in loaded.models.items():
        golden = loaded.model_files[name].parent / model.golden.data
        if _is_noise(golden):
            yield (
                f"models/{name}: {model.golden.data} holds noise that fleet init made: replace it by real frames: "
                "every engine and every robot is tested with them"
            )


def _is_noise(golden: Path) -> bool:
    try:
        with zipfile.ZipFile(golden) as archive:
            return archive.comment == NOISE
    except (OSError, zipfile.BadZipFile):
        return False  # a folder, or a file that the checks of the manifest speak of
