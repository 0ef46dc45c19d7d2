"""Time that passes only when somebody waits."""

from __future__ import annotations

import threading
from collections.abc import Callable


class FakeClock:
    """`fleet.ports.Clock`; ``sleep`` returns at once and moves the time on. Safe from many threads."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self._start = now
        self._elapsed = 0.0
        self._lock = threading.Lock()

    def now(self) -> float:
        return self._start + self._elapsed

    def monotonic(self) -> float:
        return self._elapsed

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self._elapsed += seconds


class LivelyClock(FakeClock):
    """Whoever waits lets the world go on: ``world`` is called after each wait, never while it is at it."""

    def __init__(self) -> None:
        super().__init__()
        self.world: Callable[[], None] = lambda: None
        self._at_it = False

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        if not self._at_it:
            self._at_it = True
            try:
                self.world()
            finally:
                self._at_it = False
