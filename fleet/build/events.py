"""What a build tells while it runs, for whoever draws it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fleet.errors import FleetError
from fleet.resolve.desired import EngineSpec

IMAGE = "image"
"""The builder image is looked for, and built when it is missing."""
SOURCE = "source"
"""The model's file is fetched and checked."""
STARTED = "started"
"""A builder's turn has come."""
LOG = "log"
"""One line of what the builder (or the image's build) says."""
BUILT = "built"
"""The engine is there, checked, and handed over."""
ELSEWHERE = "elsewhere"
"""Another operator built it at the same time, and has pushed it."""
FAILED = "failed"


@dataclass(frozen=True, slots=True)
class BuildEvent:
    """One moment of one engine's build."""

    kind: str
    """image | source | started | log | built | elsewhere | failed."""
    spec: EngineSpec
    line: str = ""
    seconds: float = 0.0
    """Of ``built``: what the builder took."""
    error: FleetError | None = None
    """Of ``failed``."""


OnEvent = Callable[[BuildEvent], None]
