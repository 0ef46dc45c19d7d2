"""What is measured of a model while it runs: bounded, cheap to add to, summed up a few times a second elsewhere."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence

import numpy as np

from runtime.contract.engine.build import Percentiles

WINDOW = 512
"""Samples that percentiles are taken over; at 30 Hz, the last 17 seconds."""
RATE_WINDOW_S = 5.0


class Ring:
    """The last ``WINDOW`` samples, in milliseconds."""

    def __init__(self, size: int = WINDOW) -> None:
        self._values = np.zeros(size, np.float64)
        self._count = 0

    def add(self, value: float) -> None:
        """Replace the oldest sample."""
        self._values[self._count % self._values.size] = value
        self._count += 1

    def percentiles(self) -> Percentiles | None:
        """Return what the window holds, or None when it is empty."""
        values = self._values[: min(self._count, self._values.size)]
        if not values.size:
            return None
        p50, p90, p99 = (float(value) for value in np.percentile(values, (50, 90, 99)))
        return Percentiles(p50, p90, p99, float(values.mean()), int(values.size))


class Rate:
    """Events per second over the last ``RATE_WINDOW_S``; falls to 0 when they stop."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=WINDOW)

    def add(self, now: float) -> None:
        """Count one event at ``now`` (seconds, monotonic)."""
        self._times.append(now)

    def hertz(self, now: float) -> float:
        """Return the rate at ``now``."""
        while self._times and now - self._times[0] > RATE_WINDOW_S:
            self._times.popleft()
        if not self._times:
            return 0.0
        # Over a full window, unless the events began (or the ring wrapped) within it.
        return len(self._times) / min(RATE_WINDOW_S, max(now - self._times[0], 1.0))


class ModelStats:
    """Everything counted of one model. Written by the spin thread and the worker, read by the beat."""

    def __init__(self, inputs: Sequence[str] = ("",)) -> None:
        self._lock = threading.Lock()
        self._inference, self._age = Ring(), Ring()
        self._inputs = {name: Rate() for name in inputs}
        self._output = Rate()
        self._refused: dict[str, int] = {}
        self.frames = self.lost = self.held = self.errors = 0
        self.capped = 0
        """Findings that were not published, because there is a most. Written by the worker alone."""
        self.last_error = ""
        self._resets: dict[str, int] = {}
        self.last_reset = ""
        """Why what is kept from frame to frame began anew last."""
        self.by_udp: tuple[str, ...] = ()
        """Large inputs that do not come through shared memory, ``<topic> from <node>``. Written by the spin thread."""
        self.mixed: tuple[str, ...] = ()
        """Topics on which messages of several publishers are mixed, and whose. Written by the spin thread."""
        self.unheard: tuple[str, ...] = ()
        """Listeners of its outputs that never hear them, and why. Written by the spin thread."""

    def arrived(self, lost: int, name: str = "") -> None:
        """A frame of the input ``name`` came in, and ``lost`` were lost before it."""
        with self._lock:
            self._inputs[name].add(time.monotonic())
            self.lost += lost

    def published(self, inference_ms: float, age_ms: float | None) -> None:
        """A frame's results are out. ``age_ms`` is None when the frame had no stamp."""
        with self._lock:
            self.frames += 1
            self._output.add(time.monotonic())
            self._inference.add(inference_ms)
            if age_ms is not None:
                self._age.add(age_ms)

    def held_back(self, why: str) -> None:
        """A frame that the model was not to look at; ``why`` when it is to look at none."""
        with self._lock:
            self.held += 1
            self.last_error = why or self.last_error

    def refused(self, reason: str, lost: int = 0, kind: str = "inference") -> None:
        """A frame, or an inference, that came to nothing. ``kind`` is one word, of few."""
        with self._lock:
            self.errors += 1
            self.lost += lost
            self._refused[kind] = self._refused.get(kind, 0) + 1
            self.last_error = reason

    def refused_input(self, reason: str, lost: int, name: str = "", kind: str = "garbled") -> None:
        """A frame of the input ``name`` that arrived and cannot be taken."""
        with self._lock:
            self._inputs[name].add(time.monotonic())
        self.refused(reason, lost, kind)

    def state_reset(self, why: str, said: str) -> None:
        """What is kept from frame to frame began anew; ``why`` is one word, of few."""
        with self._lock:
            self._resets[why] = self._resets.get(why, 0) + 1
            self.last_reset = f"{why}: {said}"

    def resets(self) -> dict[str, int]:
        """Return how often that happened, by reason."""
        with self._lock:
            return dict(self._resets)

    def causes(self) -> dict[str, int]:
        """Return what errors were, and lost frames, by name; those that happened."""
        with self._lock:
            found = {**self._refused, "lost": self.lost, "held_back": self.held}
            return {name: count for name, count in found.items() if count}

    def reset_window(self) -> None:
        """Forget rates and percentiles (the node was inactive), keep the counts."""
        with self._lock:
            self._inference, self._age = Ring(), Ring()
            self._inputs = {name: Rate() for name in self._inputs}
            self._output = Rate()

    def rates(self) -> tuple[float, float]:
        """Return frames per second in, of the slowest input, and results per second out."""
        now = time.monotonic()
        with self._lock:
            return min(rate.hertz(now) for rate in self._inputs.values()), self._output.hertz(now)

    def latencies(self) -> tuple[Percentiles | None, Percentiles | None]:
        """Return inference and frame age percentiles, milliseconds."""
        with self._lock:
            return self._inference.percentiles(), self._age.percentiles()
