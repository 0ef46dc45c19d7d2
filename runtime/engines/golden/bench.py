"""How long one inference takes, seen from the host: the frame copied in, run, outputs ready."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from runtime.contract.engine.build import Percentiles
from runtime.engines.backend import Runner
from runtime.engines.golden.golden_data import Golden

WARM_UP_SECONDS = 0.2
MIN_ITERATIONS = 10
MAX_ITERATIONS = 1_000_000


def bench(runner: Runner, golden: Golden, *, seconds: float) -> Percentiles:
    """Run golden frames in turn for ``seconds``, at least 10 times, after a warm-up; return milliseconds.

    The copy of a frame into the engine's buffer is part of what is measured, as it is of what a robot does.
    """
    _timed(runner, golden, seconds=min(WARM_UP_SECONDS, seconds), at_least=1)
    return percentiles(_timed(runner, golden, seconds=seconds, at_least=MIN_ITERATIONS))


def percentiles(milliseconds: Sequence[float]) -> Percentiles:
    """Return p50, p90, p99 (linear interpolation) and the mean of samples; at least one."""
    array = np.asarray(milliseconds, np.float64)
    p50, p90, p99 = (float(value) for value in np.percentile(array, (50, 90, 99)))
    return Percentiles(p50, p90, p99, float(array.mean()), int(array.size))


def _timed(runner: Runner, golden: Golden, *, seconds: float, at_least: int) -> list[float]:
    inputs = list(runner.inputs.items())
    samples: list[float] = []
    clock = time.perf_counter
    end = clock() + seconds
    while len(samples) < MAX_ITERATIONS and (len(samples) < at_least or clock() < end):
        start = clock()
        golden.feed(len(samples) % len(golden), inputs)
        runner.infer()
        samples.append((clock() - start) * 1e3)
    return samples
