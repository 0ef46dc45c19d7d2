"""Which frames a model runs on, and when: by frames, by time, by the stamps of inputs. No threads: callers lock.

Without a tolerance, the newest frame of every input (`newest_frames.py`); with one, those that lie closest together
(`joined_frames.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from runtime.contract.node.runtime_config import JoinRule, Trigger
from runtime.executor.inputs.joined_frames import JoinedFrames
from runtime.executor.inputs.newest_frames import NewestFrames
from runtime.executor.inputs.pending import (
    CAUSES,
    CLOCK_BACK,
    LATE,
    REPLACED,
    STALE,
    UNMATCHED,
    AgeLimit,
    Fill,
    Pending,
    copy_pixels,
    nanoseconds,
)

__all__ = [
    "CLOCK_BACK",
    "LATE",
    "REPLACED",
    "STALE",
    "UNMATCHED",
    "Fill",
    "Pending",
    "Synchronizer",
    "copy_pixels",
]

NO_OFFSETS: Mapping[str, float] = MappingProxyType({})


class Synchronizer:
    """The frames of one model. ``counts`` are of frames that were never used, and of clocks that were set back."""

    def __init__(
        self,
        inputs: Sequence[str],
        trigger: Trigger,
        rule: JoinRule,
        now_ns: Callable[[], int] = lambda: 0,
        steady_s: Callable[[], float] = time.monotonic,
        offsets_s: Mapping[str, float] = NO_OFFSETS,
    ) -> None:
        """``now_ns``: the node's clock, nanoseconds; ``steady_s``: the steady clock of arrivals, seconds;
        ``offsets_s``: by input, what is added to its stamps where they are compared, seconds.

        Raises ValueError when the trigger names no input.
        """
        if trigger.input and trigger.input not in inputs:
            raise ValueError(f"the trigger {trigger.input!r} is not an input: {', '.join(inputs)}")
        self.counts = dict.fromkeys(CAUSES, 0)
        self.joined = len(inputs) > 1 and rule.tolerance_s is not None
        """Frames wait in queues: more than one of an input may be kept."""
        self._frames: JoinedFrames | NewestFrames = (
            JoinedFrames(inputs, trigger, rule, [offsets_s.get(name, 0.0) for name in inputs], self.counts)
            if self.joined
            else NewestFrames(inputs, trigger, self.counts)
        )
        self._timed, self._repeat = trigger.rate_hz > 0.0, trigger.repeat
        self._due = False
        self._max_age_s = rule.max_age_s
        self._now_ns, self._steady_s = now_ns, steady_s

    @property
    def unused(self) -> int:
        """How many frames were never used."""
        return sum(self.counts.values()) - self.counts[CLOCK_BACK]

    @property
    def waiting(self) -> int:
        """How many frames the model has not run on, and may."""
        return self._frames.waiting()

    def put(self, name: str, pending: Pending) -> None:
        """Leave a frame."""
        self._frames.put(name, pending)

    def tick(self) -> bool:
        """A period of the model's rate begins. Returns whether the model runs in it: a period is never made up for."""
        self._drop_stale()
        there, new = self._frames.news()
        self._due = there and (self._repeat or new)
        return self._due

    def ready(self) -> bool:
        """There is a set to run on."""
        if self._timed and not self._due:
            return False
        return self._frames.ready() and not self._drop_stale()

    def take(self) -> dict[str, Pending]:
        """Return the set, by input, or nothing when there is none. The same dictionary may come at every call."""
        if not self.ready():
            return {}
        self._due = False
        return self._frames.take()

    def clear(self) -> None:
        """Forget every frame and every stamp."""
        self._due = False
        self._frames.clear()

    def _drop_stale(self) -> bool:
        """Drop frames that are too old to be used. Returns whether there is no set any more because of that."""
        if self._max_age_s is None:
            return False
        limit = AgeLimit(self._now_ns() - nanoseconds(self._max_age_s), self._steady_s() - self._max_age_s)
        return self._frames.drop_stale(limit)
