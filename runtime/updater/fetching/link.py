"""The robot's link: how many bytes it may take a second, how many it took, how long none came."""

from __future__ import annotations

import threading
import time
from typing import Callable

from runtime.updater.fetching.errors import Stopped, UpstreamError
from runtime.updater.fetching.pace import LEAST_BYTES_PER_S, LEAST_OVER_S, Pace

#: Waits between two attempts to reach a registry, seconds.
FIRST_DELAY_S, MAX_DELAY_S = 0.5, 10.0
#: A registry that names a longer wait is asked again after this one.
MAX_AFTER_S = 60.0
#: The link may be used ahead of the rate for so long.
BURST_S = 0.25


class Link:
    """One for all connections of a fetch; its threads share the rate. ``bytes_per_s``: 0 for no limit.

    ``least_over_s``: over so many seconds the least rate must be kept, see `pace`.
    """

    def __init__(
        self, bytes_per_s: int, stop: threading.Event, moved: int = 0, least_over_s: float = LEAST_OVER_S
    ) -> None:
        self.bytes_per_s = bytes_per_s
        self.moved = moved
        least = min(LEAST_BYTES_PER_S, bytes_per_s // 2) if bytes_per_s > 0 else LEAST_BYTES_PER_S
        self.pace = Pace(lambda: self.moved, least, least_over_s)
        self._stop = stop
        self._lock = threading.Lock()
        self._heard = time.monotonic()
        self._free_at = time.monotonic()

    @property
    def piece(self) -> int:
        """Return how many bytes to read at once."""
        return min(65536, max(1024, self.bytes_per_s // 16)) if self.bytes_per_s else 65536

    @property
    def buffer(self) -> int:
        """Return how many bytes the kernel may take ahead of us on one connection; 0: its own choice."""
        return min(1 << 20, max(16384, self.bytes_per_s // 8)) if self.bytes_per_s else 0

    def took(self, count: int) -> None:
        """Count bytes that came, and wait until the next may come. Raises Stopped; UpstreamError: they drip."""
        if self.pace.slow is not None:
            raise self.pace.slow
        with self._lock:
            now = time.monotonic()
            self.moved += count
            self._heard = now
            if self.bytes_per_s:
                self._free_at = max(self._free_at, now - BURST_S) + count / self.bytes_per_s
            wait_s = self._free_at - now
        if wait_s > 0 and self.bytes_per_s and self._stop.wait(wait_s):
            raise Stopped()
        if self._stop.is_set():
            raise Stopped()

    def silent_s(self) -> float:
        """Return the seconds since the last byte."""
        return time.monotonic() - self._heard


class Patience:
    """Goes on after an error as long as that may help: to the first byte again, or to ``stall_s`` without any."""

    def __init__(self, link: Link, stall_s: float, stop: threading.Event, say: Callable[[str], None]) -> None:
        self._link, self._stall_s, self._stop, self._say = link, stall_s, stop, say
        self._delay = FIRST_DELAY_S
        self._moved = link.moved
        self._since = time.monotonic()

    def wait(self, error: UpstreamError) -> None:
        """Wait before the next attempt; raise ``error`` when there is to be none. Raises Stopped."""
        if self._link.pace.slow is not None:
            raise self._link.pace.slow
        if self._link.moved != self._moved:
            self._moved, self._delay = self._link.moved, FIRST_DELAY_S
        silent_s = min(self._link.silent_s(), time.monotonic() - self._since)
        if not error.transient or silent_s > self._stall_s:
            raise error
        self._say(error.message)
        if self._stop.wait(max(self._delay, min(error.after_s, MAX_AFTER_S))):
            raise Stopped()
        self._delay = min(MAX_DELAY_S, self._delay * 2)
