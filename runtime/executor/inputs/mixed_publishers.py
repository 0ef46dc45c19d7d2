"""Several publishers whose messages come on one topic in turn: two cameras, mixed. By what is heard, not by the graph,
which shows a publisher that died or was replaced for many seconds. No clock of its own."""

from __future__ import annotations

import math
from collections import OrderedDict

MAX_PUBLISHERS = 16
"""Of one topic that are remembered."""
WINDOW_S = 5.0
"""How long publishers count as mixed after one of them was heard again."""


class MixedPublishers:
    """Notes who is heard. One that is heard again after another one is mixed with it; one that is followed by another
    for good was replaced."""

    def __init__(self) -> None:
        self._last: bytes | None = None
        self._heard: OrderedDict[bytes, float] = OrderedDict()
        self._mixed_at = -math.inf

    def heard(self, publisher: bytes, now: float) -> None:
        """A message of ``publisher`` (its id) came at ``now``, seconds of a steady clock."""
        if publisher == self._last:
            return
        if self._last is not None:
            self._heard[self._last] = now
            if now - self._heard.get(publisher, now - 2 * WINDOW_S) <= WINDOW_S:
                self._mixed_at = now
        self._heard[publisher] = now
        self._heard.move_to_end(publisher)
        self._last = publisher
        while len(self._heard) > MAX_PUBLISHERS:
            self._heard.popitem(last=False)

    def mixed(self, now: float) -> tuple[bytes, ...]:
        """Return the ids of those that are mixed now; none when one alone is heard."""
        if now - self._mixed_at > WINDOW_S:
            return ()
        return tuple(publisher for publisher, at in self._heard.items() if now - at <= WINDOW_S)
