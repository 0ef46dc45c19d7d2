"""The name under which the Engine pulls from us, and getting rid of it."""

from __future__ import annotations

from typing import List

from runtime.updater.robot import process

#: First part of the repository of images that the Engine pulled from our own registry on 127.0.0.1; the second part
#: is a secret of that one fetch.
REPOSITORY = "jetfleet-fetch"
ASK_S, REMOVE_S = 30.0, 240.0


def is_throwaway(reference: str) -> bool:
    """Say whether a digest reference is such a name; one that an older updater left has no secret in it."""
    return "/{}@".format(REPOSITORY) in reference or "/{}/".format(REPOSITORY) in reference


def throwaway_names(docker: str) -> List[str]:
    """Return the digest references that fetches left in the Engine; empty too when it does not answer."""
    filters = [
        "--filter",
        "reference=127.0.0.1:*/" + REPOSITORY,
        "--filter",
        "reference=127.0.0.1:*/" + REPOSITORY + "/*",
    ]
    ran = process.run([docker, "image", "ls", "--digests", *filters, "--format", "{{.Repository}}@{{.Digest}}"], ASK_S)
    return [name for name in ran.out.split() if "@sha256:" in name] if ran.code == 0 else []


def remove_throwaways(docker: str) -> None:
    """Remove those names. What the image has under its own name stays; what has none goes with its layers."""
    for name in throwaway_names(docker):
        process.run([docker, "image", "rm", name], REMOVE_S)
