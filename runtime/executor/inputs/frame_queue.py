"""Frames of one input that wait for those of others, in the order of their stamps."""

from __future__ import annotations

from collections import deque

from runtime.executor.inputs.pending import Pending

INTERVALS = 10
"""How many of an input's last intervals say when its next frame may come."""
JITTER = 0.8
"""Share of the shortest of them after which it may come already: drivers' stamps vary."""


class FrameQueue:
    """Frames of one input in the order of their stamps, and which of them the model has not run on."""

    def __init__(self, offset_ns: int) -> None:
        """``offset_ns``: added to the stamps of this input."""
        self.offset_ns = offset_ns
        self.stamps: list[int] = []
        """With the offset, nanoseconds."""
        self.frames: list[Pending] = []
        self.fresh: list[bool] = []
        self.last_ns: int | None = None
        """The newest stamp that this input had."""
        self._intervals: deque[int] = deque(maxlen=INTERVALS)

    def put(self, at_ns: int, pending: Pending) -> None:
        """Add the newest frame."""
        self.stamps.append(at_ns)
        self.frames.append(pending)
        self.fresh.append(True)
        if self.last_ns is not None:
            self._intervals.append(at_ns - self.last_ns)
        self.last_ns = at_ns

    def may_come_within(self, most: int, at_ns: int, *, unknown: bool) -> bool:
        """Say whether a frame less than ``most`` nanoseconds from ``at_ns`` may still come; ``unknown``: what to say of
        an input that has had no two frames."""
        if self.last_ns is None or self.last_ns >= at_ns:
            return False
        if not self._intervals:
            return unknown and most > 0
        return max(0, self.last_ns + int(min(self._intervals) * JITTER) - at_ns) < most

    def forget(self) -> None:
        """Begin again, with another clock."""
        self.drop(len(self.frames))
        self.last_ns = None
        self._intervals.clear()

    def drop(self, count: int) -> int:
        """Forget the first ``count`` frames. Returns how many of them the model has not run on."""
        unused = sum(self.fresh[:count])
        del self.stamps[:count], self.frames[:count], self.fresh[:count]
        return unused

    def older_than(self, at_ns: int) -> int:
        """How many frames have an earlier stamp."""
        return sum(stamp < at_ns for stamp in self.stamps)
