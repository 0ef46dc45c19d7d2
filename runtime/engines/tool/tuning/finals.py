"""The end of a search: the fastest that passed, measured in turn, and what is proposed of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from runtime.contract.engine.tuning import PASSED, Mix, TuneState
from runtime.engines.tool.bench import Contender, in_turn, latency_of
from runtime.engines.tool.flag_inputs import frames_for
from runtime.engines.tool.open_engine import Opened, open_engine
from runtime.engines.tool.tuning.planner import CLEARLY, fastest

_FINALISTS = 3


def finalists(state: TuneState) -> list[Mix]:
    """Return the fastest that passed, and the fastest plain float precision next to them."""
    passed = sorted(
        (trial for trial in state.trials if trial.verdict == PASSED and trial.latency),
        key=lambda trial: trial.latency.p50 if trial.latency else 0.0,
    )
    fast = passed[:_FINALISTS]
    plain = next((trial for trial in passed if trial.mix.precision != "int8" and not trial.mix.regions), None)
    return [trial.mix for trial in ([*fast, plain] if plain and plain not in fast else fast)]


def proposal(state: TuneState) -> Mix | None:
    """Return the fastest by the measurement in turn; what is as fast within noise and simpler goes before."""
    if not state.in_turn:
        best = fastest(state)
        return best.mix if best else None
    least = min(each.p50 for each in state.in_turn)
    near = [each for each in state.in_turn if each.p50 * CLEARLY <= least]
    return min(near, key=lambda each: (_complexity(each.mix), each.p50)).mix


def measured_in_turn(folders: Sequence[Path], seconds: float) -> list[tuple[float, float, int]]:
    """Return p50, p99 (milliseconds) and the number of inferences of engines, run in turn. Raises EngineError."""
    opened: list[Opened] = []
    try:
        opened += [open_engine(folder) for folder in folders]
        contenders = [Contender(each.runner, frames_for(each, None, 0)[0]) for each in opened]
        in_turn(contenders, seconds=seconds, iterations=None, warm_up_seconds=0.2)
        latencies = [latency_of(each.samples) for each in contenders]
    finally:
        for each in opened:
            each.runner.close()
    return [(each.p50, each.p99, each.count) for each in latencies]


def busy() -> list[str]:
    """Return a note where other work made the measured times doubtful."""
    load, cpus = os.getloadavg()[0], os.cpu_count() or 1
    if load <= cpus / 2 + 1:  # the search itself is one
        return []
    return [f"other work ran at the same time: load average {load:.1f} on {cpus} CPUs; times vary by that"]


def _complexity(mix: Mix) -> int:
    int8 = mix.options.int8
    return len(mix.options.keep_fp32_nodes) + (len(int8.exclude_nodes) + len(int8.exclude_ops) if int8 else 0)
