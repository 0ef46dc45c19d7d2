"""The order of versions: semantic versioning, as the manifest writes it; and what Docker must be at least."""

from __future__ import annotations

import re
from typing import Tuple

MIN_ENGINE, MIN_COMPOSE = (20, 10), (2, 0)
"""Docker Engine and Compose that a robot needs at least; bootstrap and every order check it."""
VERSION = re.compile(r"([0-9]{1,18})\.([0-9]{1,18})\.([0-9]{1,18})(?:-([0-9A-Za-z.-]{1,100}))?")


def version_order(version: str) -> Tuple[object, ...]:
    """Return the sort key of a version: numbers as numbers, a pre-release before its release. Raises ValueError."""
    match = VERSION.fullmatch(version)
    if match is None:
        raise ValueError("{!r} is not a version".format(version))
    before = match.group(4)
    parts = tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in before.split(".")) if before else ()
    return (int(match.group(1)), int(match.group(2)), int(match.group(3)), before is None, parts)
