"""How far a fetch is: one line for a person, the bytes that it moved, and whether trying again is still worth it."""

from __future__ import annotations

from dataclasses import replace
from typing import Dict, Optional, Tuple

from runtime.contract.robot.update import UpdateOrder
from runtime.updater.state.records import Journal
from runtime.updater.state.transitions import give_up, retry
from runtime.updater.state.windows import is_open
from runtime.updater.state.world import World, WorldError, elapsed
from runtime.updater.transaction.preflight import moved_bytes

#: A fetch that gets on is tried again and again, but not longer than this; looked at whenever there is any news of it.
FETCH_DEADLINE_S = 24 * 3600.0
ALONE = "fetching by the Engine alone: a cut link restarts a layer, no rate limit: {}"


class FetchProgress:
    """One attempt; see :class:`runtime.updater.state.world.FetchListener`. Raises WorldError when the download's window
    closes, or when the fetch takes longer than it may: what came is kept."""

    def __init__(self, journal: Journal, world: World) -> None:
        assert journal.order is not None
        self._order: UpdateOrder = journal.order
        self._world = world
        self._by_hand = journal.by_hand
        self._entered = journal.entered
        self._why = journal.reason or "it is too slow"
        self._layers: Dict[str, str] = {}
        self._moved: Optional[int] = None
        self._alone = ""
        self._kept = world.bytes_in_store(self._digests)

    def layer(self, layer: str, status: str) -> None:
        """Count layers."""
        if self._layers.get(layer) != "downloaded":
            self._layers[layer] = status
        self._check()
        self._note(self._layers_text())

    def moved(self, moved: int, here: int, total: int) -> None:
        """Count bytes."""
        self._moved = moved
        self._check()
        self._note("{}, {:.1f} of {:.1f} MB".format(self._layers_text(), here / 1e6, total / 1e6))

    def waits(self, why: str) -> None:
        """Say that the link failed."""
        self._why = why
        self._check()
        self._note("{}; trying again: {}".format(self._layers_text(), why))

    def alone(self, why: str) -> None:
        """Say what the robot does without."""
        self._check()
        self._alone = ALONE.format(why)
        self._note(self._alone)

    def counted(self, journal: Journal) -> Journal:
        """Return the journal with the bytes that went over the network for its order."""
        if journal.was_local:
            return replace(journal, fetched_bytes=0)
        if self._moved is not None:
            return replace(journal, fetched_bytes=self._moved)
        if not self._layers:
            # Nothing was fetched in this attempt. What a cut one before it moved, its process counted, or nobody.
            return replace(journal, fetched_bytes=self._told(journal))
        now: Optional[int] = moved_bytes(self._order.variant, self._layers)
        return replace(journal, fetched_bytes=None if now is None else (journal.fetched_bytes or 0) + now)

    def try_again(self, journal: Journal, error: WorldError) -> Journal:
        """Return what comes after a failed attempt: only one that brought nothing counts as a try."""
        now, counted = self._world.mark(), self.counted(journal)
        if self._too_late():
            hours = FETCH_DEADLINE_S / 3600.0
            return give_up(counted, "not done within {:g} h: {}".format(hours, error.message), error.hint, now)
        if self._world.bytes_in_store(self._digests) > self._kept:
            counted = replace(counted, tries=0)
        return retry(counted, error, now)

    def _too_late(self) -> bool:
        return self._entered is not None and elapsed(self._entered, self._world.mark()) > FETCH_DEADLINE_S

    @property
    def _digests(self) -> Tuple[str, ...]:
        return tuple(layer.digest for layer in self._order.variant.layers)

    def _told(self, journal: Journal) -> Optional[int]:
        told = self._world.fetched_bytes(self._order.order_id)
        return journal.fetched_bytes if told is None else told

    def _check(self) -> None:
        """Raise WorldError when nothing more may be fetched: too late, or outside of the window."""
        if self._too_late():
            raise WorldError(self._why, "check the registry and the robot's link", transient=True)
        if self._order.override or self._by_hand:
            return
        if not is_open(self._order.switch.download, self._world.mark().wall):
            raise WorldError("the window for downloads has closed", "it continues in the next one", transient=True)

    def _layers_text(self) -> str:
        done = sum(1 for state in self._layers.values() if state != "downloading")
        return "fetching: {} of {} layers".format(done, len(self._digests) or len(self._layers))

    def _note(self, text: str) -> None:
        again = self._alone and text != self._alone
        self._world.note("{} ({})".format(text, self._alone) if again else text)


def recounted(journal: Journal, world: World) -> Journal:
    """Return the journal with what a cut attempt moved: one that got on is no try that failed."""
    order = journal.order
    told = None if order is None or journal.was_local else world.fetched_bytes(order.order_id)
    if told is None or told <= (journal.fetched_bytes or 0):
        return journal
    return replace(journal, fetched_bytes=told, tries=0)
