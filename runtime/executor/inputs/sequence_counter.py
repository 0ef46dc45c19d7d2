"""Messages that were lost between two that arrived, by their publisher's sequence numbers."""

from __future__ import annotations

from collections import OrderedDict

MAX_PUBLISHERS = 16
"""Publishers of one topic whose sequence numbers are remembered."""


UNKNOWN_SEQUENCE = (1 << 64) - 1
"""What a middleware that does not number messages reports."""


class SequenceCounter:
    """Counts messages that were published and never arrived, exactly, per publisher."""

    def __init__(self) -> None:
        self._last: OrderedDict[bytes, int] = OrderedDict()

    def lost_before(self, publisher: bytes, sequence: int | None) -> int:
        """Return how many messages of ``publisher`` are missing between its last one and this one."""
        if sequence is None or sequence == UNKNOWN_SEQUENCE:
            return 0
        last = self._last.pop(publisher, None)
        self._last[publisher] = sequence
        if len(self._last) > MAX_PUBLISHERS:
            self._last.popitem(last=False)
        # Numbers that go back are a publisher that started again: nothing is known to be lost.
        return sequence - last - 1 if last is not None and sequence > last else 0
