"""SwitchRules: when and how one robot may go from one release to the next. Part of the release, and so signed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

#: How the new container takes over. ``auto``: next to the old one where memory holds both; ``stop-start``: never.
HANDOVER_AUTO, HANDOVER_NEVER = "auto", "stop-start"


@dataclass(frozen=True)
class Window:
    """A stretch of time that comes again, in the robot's own time zone."""

    start: int
    """Minute of the day (0 to 1439) at which it opens."""
    end: int
    """Minute of the day at which it closes (1 to 1440); at or before ``start``: on the next day."""
    days: Tuple[int, ...] = ()
    """Days on which it opens, Monday is 0; empty: every day."""


@dataclass(frozen=True)
class SwitchRules:
    """What the manifest says of one robot's switches."""

    wait_s: float = 600.0
    """So long an order waits for a window or for the robot's update lock; then it is deferred."""
    download: Tuple[Window, ...] = ()
    """When bytes may be fetched; empty: at any time."""
    switch: Tuple[Window, ...] = ()
    """When the container may be replaced; empty: at any time."""
    bytes_per_s: int = 0
    """Most bytes a second that fetching may take; 0: as fast as it goes."""
    handover: str = HANDOVER_NEVER
    """``auto`` | ``stop-start``; the latter for documents older than handovers. A manifest's default is auto."""
