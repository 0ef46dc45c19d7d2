"""A frame that waits for the worker, and why one is never used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from runtime.executor.inputs.frames import Stamp

REPLACED, UNMATCHED, STALE, LATE = "replaced", "unmatched", "stale", "late"
"""Why a frame that fits its input was never used."""
CLOCK_BACK = "clock_back"
"""An event, not a frame: a publisher's clock was set back."""
CAUSES = (REPLACED, UNMATCHED, STALE, LATE, CLOCK_BACK)

Fill = Callable[[Any, npt.NDArray[Any]], None]
"""Writes a frame's data into the engine's input buffer."""


def copy_pixels(data: npt.NDArray[Any], tensor: npt.NDArray[Any]) -> None:
    """Fill with an image."""
    np.copyto(tensor[0], data)


class Pending(NamedTuple):
    """A frame that fits its input and waits for the worker."""

    stamp: Stamp
    data: Any
    """What ``fill`` needs; an image's is (height, width, channels), a view into the message."""
    fill: Fill = copy_pixels
    arrived_ns: int = 0
    """By the node's clock: stands in for a stamp that is 0."""

    @property
    def at_ns(self) -> int:
        """When it was taken, nanoseconds."""
        return self.stamp.nanoseconds or self.arrived_ns


class AgeLimit(NamedTuple):
    """The oldest frame that may still be used, at one moment."""

    stamped_ns: int
    arrived_s: float

    def passed(self, pending: Pending) -> bool:
        """By its stamp, or by its arrival: a stamp ahead of the robot's clock, or a clock that stands still, must not
        keep a dead sensor's last frame young."""
        return pending.at_ns < self.stamped_ns or 0.0 < pending.stamp.arrived_s < self.arrived_s


def nanoseconds(seconds: float) -> int:
    """Return whole nanoseconds."""
    return round(seconds * 1e9)
