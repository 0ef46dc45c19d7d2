"""``registry/repository@sha256:…`` in its parts."""

from __future__ import annotations

import re
from dataclasses import dataclass

from runtime.updater.fetching.errors import Cannot

_REFERENCE = re.compile(r"([^/@\s]+)/([^@\s]+)@(sha256:[0-9a-f]{64})")
#: Where Docker's own rules differ: mirrors, short names, another host for the API.
_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")


@dataclass(frozen=True)
class Reference:
    """An image by digest."""

    host: str
    """``registry.example:5000``."""
    repository: str
    digest: str


def parse_reference(text: str) -> Reference:
    """Return the parts. Raises Cannot for what only the Engine can resolve."""
    match = _REFERENCE.fullmatch(text)
    host = match.group(1) if match else ""
    if match is None or not ("." in host or ":" in host or host == "localhost"):
        raise Cannot("{} does not name its registry".format(text))
    if host in _HUB:
        raise Cannot("the Engine may use mirrors of Docker Hub")
    return Reference(host, match.group(2), match.group(3))
