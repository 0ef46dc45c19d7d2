"""Time that passes only when somebody waits."""

from __future__ import annotations

import threading


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
