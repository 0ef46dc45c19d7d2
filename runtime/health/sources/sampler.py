"""Reads the machine on a thread of its own: a sensor whose driver hangs must stop neither supervision nor an answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from runtime.contract.node.health import SystemHealth

PERIOD_S = 2.0
"""Between two samples."""


class Sampler:
    """Keeps the newest sample, and says how old it is."""

    def __init__(
        self,
        read: Callable[[], SystemHealth],
        *,
        log: Callable[[str], None],
        period_s: float = PERIOD_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read, self._log, self._period_s, self._clock = read, log, period_s, clock
        self._newest: tuple[float, SystemHealth] = (clock(), SystemHealth())
        self._fault = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="machine", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Read no more. Does not wait: a read that hangs never ends."""
        self._stop.set()

    def newest(self) -> SystemHealth:
        """Return the last sample; before the first one, an empty one."""
        at, sample = self._newest
        return replace(sample, sample_age_s=round(max(0.0, self._clock() - at), 1))

    def read_once(self) -> None:
        """Take one sample. A defect here costs the numbers, never the agent: it is told once, and the sample ages."""
        try:
            sample = self._read()
        except Exception as error:  # noqa: BLE001 - whatever a driver's file made of itself
            fault = f"{type(error).__name__}: {error}"
            if fault != self._fault:
                self._log(f"cannot read the machine's sensors: {fault}")
            self._fault = fault
            return
        self._fault = ""
        self._newest = (self._clock(), sample)

    def _run(self) -> None:
        while True:
            self.read_once()
            if self._stop.wait(self._period_s):
                return
