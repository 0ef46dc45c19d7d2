"""The newest frame of every input of a model, and when they make a set that it runs on. No threads: callers lock.

One slot an input. With a tolerance, a frame that lies further back than that from the newest of the others is dropped:
what comes after it on those inputs is newer still, so it can never match; its input's next frame is waited for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from runtime.contract.node.runtime_config import JoinRule, Trigger
from runtime.executor.inputs.frames import Stamp

REPLACED, UNMATCHED, STALE, LATE = "replaced", "unmatched", "stale", "late"
"""Why a frame that fits its input was never used."""
CLOCK_BACK = "clock_back"
"""An event, not a frame: a publisher's clock was set back."""

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
        """When it was taken, for joining."""
        return self.stamp.nanoseconds or self.arrived_ns


class _Slot:
    """The newest frame of one input."""

    __slots__ = ("fresh", "last_ns", "pending")

    def __init__(self) -> None:
        self.pending: Pending | None = None
        self.fresh = False
        """The model has not run on it."""
        self.last_ns: int | None = None
        """The newest stamp that this input had."""

    def clear(self) -> None:
        self.pending, self.fresh = None, False


class Synchronizer:
    """The slots of one model. ``counts`` are of frames that were never used, and of clocks that were set back."""

    def __init__(
        self,
        inputs: Sequence[str],
        trigger: Trigger,
        rule: JoinRule,
        now_ns: Callable[[], int] = lambda: 0,
        steady_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """``now_ns``: the node's clock, nanoseconds; ``steady_s``: the steady clock of arrivals, seconds.

        Raises ValueError when the trigger names no input.
        """
        if trigger.input and trigger.input not in inputs:
            raise ValueError(f"the trigger {trigger.input!r} is not an input: {', '.join(inputs)}")
        self._slots = {name: _Slot() for name in inputs}
        self._trigger = self._slots[trigger.input] if trigger.input else None
        self._timed, self._repeat = trigger.rate_hz > 0.0, trigger.repeat
        self._due = False
        self._joined = len(inputs) > 1 and rule.tolerance_s is not None
        self._tolerance_ns = _ns(rule.tolerance_s or 0.0)
        self._max_age_ns = None if rule.max_age_s is None else _ns(rule.max_age_s)
        self._back_ns = _ns(rule.clock_back_s)
        self._now_ns, self._steady_s = now_ns, steady_s
        self._max_age_s = rule.max_age_s
        self._set: dict[str, Pending] = {}
        self.counts = dict.fromkeys((REPLACED, UNMATCHED, STALE, LATE, CLOCK_BACK), 0)

    @property
    def unused(self) -> int:
        """How many frames were never used."""
        return sum(self.counts.values()) - self.counts[CLOCK_BACK]

    def put(self, name: str, pending: Pending) -> None:
        """Leave a frame in its slot."""
        slot = self._slots[name]
        if self._joined and not self._in_order(slot, pending.at_ns):
            return
        if slot.fresh and self._waited_for(slot):
            self.counts[REPLACED] += 1
        slot.pending, slot.fresh = pending, True
        if self._joined:
            self._drop_unmatched()

    def tick(self) -> bool:
        """A period of the model's rate begins. Returns whether the model runs in it: a period is never made up for."""
        self._drop_stale()
        self._due = all(slot.pending is not None for slot in self._slots.values()) and (
            self._repeat or any(slot.fresh for slot in self._slots.values())
        )
        return self._due

    def ready(self) -> bool:
        """There is a set to run on."""
        if self._timed and not self._due:
            return False
        if self._trigger is not None and not self._trigger.fresh:
            return False
        all_fresh = self._trigger is None and not self._timed
        for slot in self._slots.values():
            if slot.pending is None or (all_fresh and not slot.fresh):
                return False
        return not self._drop_stale()

    def take(self) -> dict[str, Pending]:
        """Return the set, by input, or nothing when there is none. The same dictionary at every call."""
        self._set.clear()
        if not self.ready():
            return self._set
        self._due = False
        for name, slot in self._slots.items():
            assert slot.pending is not None
            self._set[name] = slot.pending
            slot.fresh = False
            if self._waited_for(slot):  # others may go along with a later frame too
                slot.pending = None
        return self._set

    def clear(self) -> None:
        """Forget every frame and every stamp."""
        self._due = False
        for slot in self._slots.values():
            slot.clear()
            slot.last_ns = None

    def _waited_for(self, slot: _Slot) -> bool:
        """The model runs on every frame of this input, if it can; of others it takes the newest."""
        return not self._timed and (self._trigger is None or slot is self._trigger)

    def _in_order(self, slot: _Slot, at_ns: int) -> bool:
        """Say whether the stamp is usable. One that lies far back is of a clock that was set back, and begins again."""
        if slot.last_ns is not None and at_ns < slot.last_ns:
            if slot.last_ns - at_ns <= self._back_ns:
                self.counts[LATE] += 1
                return False
            self._count_waiting(STALE)
            self.clear()
            self.counts[CLOCK_BACK] += 1
        slot.last_ns = at_ns
        return True

    def _drop_unmatched(self) -> None:
        newest = max(slot.pending.at_ns for slot in self._slots.values() if slot.pending is not None)
        for slot in self._slots.values():
            if slot.pending is not None and newest - slot.pending.at_ns > self._tolerance_ns:
                self.counts[UNMATCHED] += slot.fresh
                slot.clear()

    def _drop_stale(self) -> bool:
        """Drop frames that are too old to be used. Returns whether there were any."""
        if self._max_age_ns is None:
            return False
        oldest, arrived = self._now_ns() - self._max_age_ns, self._steady_s() - (self._max_age_s or 0.0)
        found = False
        for slot in self._slots.values():
            if slot.pending is not None and _older(slot.pending, oldest, arrived):
                self.counts[STALE] += slot.fresh
                slot.clear()
                found = True
        return found

    def _count_waiting(self, why: str) -> None:
        self.counts[why] += sum(slot.fresh for slot in self._slots.values())


def _older(pending: Pending, stamped_ns: int, arrived_s: float) -> bool:
    """By its stamp, or by its arrival: a stamp ahead of the robot's clock, or a clock that stands still, must not keep
    a dead sensor's last frame young."""
    return pending.at_ns < stamped_ns or 0.0 < pending.stamp.arrived_s < arrived_s


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
