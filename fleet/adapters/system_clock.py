"""Real time."""

from __future__ import annotations

import time


class SystemClock:
    """`fleet.ports.Clock` on the machine's own clocks."""

    def now(self) -> float:
        """Return Unix seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)
