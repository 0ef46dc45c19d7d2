"""How long each layer of a plan takes, as TensorRT's own profiler says it.

Layers run one after the other while it looks, so their sum is more than an inference takes.
"""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING

from runtime.contract.engine.build import EngineIdentity
from runtime.engines.tensorrt_.run.plan import OpenPlan
from runtime.engines.tensorrt_.run.runner import TensorRtRunner

if TYPE_CHECKING:
    import tensorrt as trt

_SECONDS, _LEAST_RUNS, _MOST_RUNS = 0.3, 5, 100


def layer_times(plan: OpenPlan, identity: EngineIdentity) -> dict[str, float]:
    """Return layer → milliseconds of one inference, the median of several. Raises EngineError."""
    profiler = _profiler()
    runner = TensorRtRunner(plan, identity)
    try:
        runner.profile_with(profiler)
        runner.infer()  # the first one with a profiler makes its events
        profiler.times.clear()
        end = time.perf_counter() + _SECONDS
        for count in range(_MOST_RUNS):
            if count >= _LEAST_RUNS and time.perf_counter() > end:
                break
            runner.infer()
    finally:
        runner.close()
    return {name: median(times) for name, times in profiler.times.items()}


def _profiler() -> Profiler:
    """Return a profiler that keeps what it hears. Made here, as its base class is TensorRT's."""
    import tensorrt as trt

    class Keeper(trt.IProfiler):
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.times: dict[str, list[float]] = {}

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.times.setdefault(layer_name, []).append(float(ms))

    return Keeper()


if TYPE_CHECKING:

    class Profiler(trt.IProfiler):
        """What :func:`_profiler` makes."""

        times: dict[str, list[float]]
