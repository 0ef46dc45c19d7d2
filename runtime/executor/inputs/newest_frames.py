"""The newest frame of every input, whatever their stamps: how a model runs that declares no tolerance."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.contract.node.runtime_config import Trigger
from runtime.executor.inputs.pending import REPLACED, STALE, AgeLimit, Pending


class _Slot:
    """The newest frame of one input."""

    __slots__ = ("fresh", "pending")

    def __init__(self) -> None:
        self.pending: Pending | None = None
        self.fresh = False
        """The model has not run on it."""

    def clear(self) -> None:
        self.pending, self.fresh = None, False


class NewestFrames:
    """One slot an input. No threads, no clock."""

    def __init__(self, inputs: Sequence[str], trigger: Trigger, counts: dict[str, int]) -> None:
        """``counts``: by cause, of frames that were never used; counted up here."""
        self._slots = {name: _Slot() for name in inputs}
        self._trigger = self._slots[trigger.input] if trigger.input else None
        self._timed = trigger.rate_hz > 0.0
        self._counts = counts
        self._set: dict[str, Pending] = {}

    def put(self, name: str, pending: Pending) -> None:
        """Leave a frame in its slot."""
        slot = self._slots[name]
        if slot.fresh and self._waited_for(slot):
            self._counts[REPLACED] += 1
        slot.pending, slot.fresh = pending, True

    def news(self) -> tuple[bool, bool]:
        """Return whether there is a frame of every input, and whether one of them is new."""
        slots = self._slots.values()
        return all(slot.pending is not None for slot in slots), any(slot.fresh for slot in slots)

    def ready(self) -> bool:
        """There is a set to run on."""
        if self._trigger is not None and not self._trigger.fresh:
            return False
        all_fresh = self._trigger is None and not self._timed
        return not any(slot.pending is None or (all_fresh and not slot.fresh) for slot in self._slots.values())

    def take(self) -> dict[str, Pending]:
        """Return the set. Only when ready. The same dictionary at every call."""
        for name, slot in self._slots.items():
            assert slot.pending is not None
            self._set[name] = slot.pending
            slot.fresh = False
            if self._waited_for(slot):  # others may go along with a later frame too
                slot.pending = None
        return self._set

    def drop_stale(self, limit: AgeLimit) -> bool:
        """Drop frames that are too old to be used. Returns whether there were any."""
        found = False
        for slot in self._slots.values():
            if slot.pending is not None and limit.passed(slot.pending):
                self._counts[STALE] += slot.fresh
                slot.clear()
                found = True
        return found

    def waiting(self) -> int:
        """How many frames the model has not run on."""
        return sum(slot.fresh for slot in self._slots.values())

    def clear(self) -> None:
        """Forget every frame."""
        for slot in self._slots.values():
            slot.clear()

    def _waited_for(self, slot: _Slot) -> bool:
        """The model runs on every frame of this input, if it can; of others it takes the newest."""
        return not self._timed and (self._trigger is None or slot is self._trigger)
