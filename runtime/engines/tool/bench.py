"""Latency as trtexec reports it, of one engine, or of two in turn so that both meet the same machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from runtime.contract.engine.engine_facts import BenchAnswer, EngineBench, Latency, Ratio
from runtime.contract.engine.engine_tool import BenchRequest
from runtime.engines.backend import Progress, Runner
from runtime.engines.device.device_facts import read_jetson
from runtime.engines.golden.bench import MIN_ITERATIONS
from runtime.engines.golden.golden_data import Golden
from runtime.engines.tool.flag_inputs import frames_for
from runtime.engines.tool.open_engine import Opened, open_engine

UNSTEADY = 0.025
"""Coefficient of variation above which a measurement is flagged, as trtexec does."""
ROUND_S = 0.1
"""How long one engine runs before it is the other's turn."""
_ROUNDS = 10
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")

Clock = Callable[[], float]


class _Timed(Protocol):
    def timed(self) -> tuple[float, float, float]: ...


@dataclass
class Contender:
    """One engine under measurement."""

    runner: Runner
    frames: Golden
    samples: list[float] = field(default_factory=list)
    """Milliseconds."""
    round_means: list[float] = field(default_factory=list)
    spent: float = 0.0
    """Seconds."""


def run(request: BenchRequest, progress: Progress) -> BenchAnswer:
    """Load, measure and close. Raises EngineError."""
    opened: list[Opened] = []
    try:
        for path in request.engines:
            progress(f"loading {path}")
            opened.append(
                open_engine(
                    Path(path), threads=request.threads, cuda_graph=request.cuda_graph, shapes=request.shapes
                )
            )  # fmt: skip
        return bench_opened(opened, request, progress)
    finally:
        for each in opened:
            each.runner.close()


def bench_opened(opened: Sequence[Opened], request: BenchRequest, progress: Progress) -> BenchAnswer:
    """Measure engines that are loaded. Raises EngineError."""
    given = [frames_for(each, request.input, request.seed) for each in opened]
    contenders = [Contender(each.runner, frames) for each, (frames, _) in zip(opened, given, strict=True)]
    before = conditions()
    progress(f"measuring, {_budget(request)} each")
    in_turn(contenders, seconds=request.seconds, iterations=request.iterations, warm_up_seconds=request.warm_up_seconds)
    parts = [_parts(each, request.seconds / 3) for each in opened]
    after = conditions()
    engines = tuple(
        _result(each, contender, found) for each, contender, found in zip(opened, contenders, parts, strict=True)
    )
    method = _method(request, opened, [words for _, words in given], len(contenders[0].round_means))
    ratio = ratio_of(contenders[0], contenders[1]) if len(contenders) == 2 else None
    return BenchAnswer(engines, ratio, method, {"before": before, "after": after}, tuple(_notes(engines, before)))


def in_turn(
    contenders: Sequence[Contender],
    *,
    seconds: float,
    iterations: int | None,
    warm_up_seconds: float,
    clock: Clock = time.perf_counter,
) -> None:
    """Run every engine for ``seconds`` (and at least ten times) or ``iterations`` times, in short rounds.

    Who begins a round changes with every round (A B, B A, …): neither profits from where it stands.
    """
    for each in contenders:
        _slice(Contender(each.runner, each.frames), min(warm_up_seconds, seconds), 1 << 62, clock)
    length = min(ROUND_S, seconds / _ROUNDS)
    backwards = False
    while any(not _done(each, seconds, iterations) for each in contenders):
        for each in reversed(contenders) if backwards else contenders:
            if not _done(each, seconds, iterations):
                _slice(each, length, 1 << 62 if iterations is None else iterations - len(each.samples), clock)
        backwards = not backwards


def _done(each: Contender, seconds: float, iterations: int | None) -> bool:
    if iterations is not None:
        return len(each.samples) >= iterations
    return each.spent >= seconds and len(each.samples) >= MIN_ITERATIONS


def _slice(each: Contender, seconds: float, most: int, clock: Clock) -> None:
    """Run one engine for a round: at least once, at most ``most`` times."""
    inputs, count, frames = list(each.runner.inputs.items()), len(each.frames), each.frames
    first = len(each.samples)
    begin = clock()
    end = begin + seconds
    while True:
        start = clock()
        frames.feed(len(each.samples) % count, inputs)
        each.runner.infer()
        now = clock()
        each.samples.append((now - start) * 1e3)
        if now >= end or len(each.samples) - first >= most:
            break
    each.spent += now - begin
    each.round_means.append(float(np.mean(each.samples[first:])))


def latency_of(milliseconds: Sequence[float]) -> Latency:
    """Return percentiles (linear interpolation), mean, extremes and variation of samples; at least one."""
    array = np.asarray(milliseconds, np.float64)
    p50, p90, p95, p99 = (float(value) for value in np.percentile(array, (50, 90, 95, 99)))
    mean = float(array.mean())
    variation = float(array.std()) / mean if mean > 0 else 0.0
    return Latency(p50, p90, p95, p99, mean, float(array.min()), float(array.max()), variation, int(array.size))


def ratio_of(first: Contender, second: Contender) -> Ratio:
    """Return the second's time over the first's."""
    rounds = [b / a for a, b in zip(first.round_means, second.round_means, strict=False)]
    one, other = latency_of(first.samples), latency_of(second.samples)
    return Ratio(
        p50=other.p50 / one.p50,
        mean=other.mean / one.mean,
        round_low=min(rounds),
        round_median=float(np.median(rounds)),
        round_high=max(rounds),
        rounds=len(rounds),
    )


def _parts(opened: Opened, seconds: float) -> tuple[Latency, Latency, Latency] | None:
    """Return copies in, kernels, copies out, where the runner has a clock for each."""
    if not hasattr(opened.runner, "timed"):
        return None
    runner = cast(_Timed, opened.runner)
    samples: list[tuple[float, float, float]] = []
    end = time.perf_counter() + seconds
    while len(samples) < MIN_ITERATIONS or time.perf_counter() < end:
        samples.append(runner.timed())
    h2d, compute, d2h = (latency_of(part) for part in zip(*samples, strict=True))
    return h2d, compute, d2h


def _result(opened: Opened, contender: Contender, parts: tuple[Latency, Latency, Latency] | None) -> EngineBench:
    identity, host = opened.identity, latency_of(contender.samples)
    h2d, compute, d2h = parts or (None, None, None)
    return EngineBench(
        path=str(opened.path),
        model=identity.model,
        precision=identity.precision,
        backend=identity.backend,
        bytes=identity.engine_bytes,
        load_ms=opened.load_ms,
        host=host,
        h2d=h2d,
        compute=compute,
        d2h=d2h,
        unsteady=(compute or host).variation > UNSTEADY,
        per_second=1e3 / host.mean,
    )


def _method(request: BenchRequest, opened: Sequence[Opened], inputs: list[str], rounds: int) -> dict[str, Any]:
    on_cpu = all(each.identity.backend == "onnxruntime" for each in opened)
    return {
        "warm_up_seconds": min(request.warm_up_seconds, request.seconds),
        "seconds": None if request.iterations is not None else request.seconds,
        "iterations": request.iterations,
        "rounds": rounds,
        "input": inputs if len(set(inputs)) > 1 else inputs[0],
        "transfers": True,
        "spin_wait": False,
        "cuda_graph": request.cuda_graph,
        "threads": request.threads if on_cpu else None,
    }


def conditions() -> dict[str, Any]:
    """Return what the machine was like; None for what it does not tell."""
    found: dict[str, Any] = {
        "power_mode": read_jetson().power_mode,
        "cpus": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2),
        "cpu_governor": _text(_GOVERNOR),
    }
    from runtime.engines.tensorrt_.run.latency import conditions as of_the_gpu

    return {**of_the_gpu(), **found}


def _text(path: Path) -> str | None:
    try:
        return path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):  # virtual machines have none
        return None


def _budget(request: BenchRequest) -> str:
    return f"{request.iterations} inferences" if request.iterations is not None else f"{request.seconds:g} s"


def _notes(engines: Sequence[EngineBench], before: dict[str, Any]) -> list[str]:
    notes = []
    load, cpus = before["load_average"], before["cpus"] or 1
    if load > cpus / 2:
        notes.append(f"other work ran at the same time: load average {load} on {cpus} CPUs before it began")
    for each in engines:
        if each.unsteady:
            variation = (each.compute or each.host).variation
            what = "kernels" if each.compute else "host times"
            notes.append(
                f"{Path(each.path).name}: {what} vary by {variation:.1%} (above {UNSTEADY:.1%}): lock clocks, end "
                "other work, or measure longer before trusting small differences"
            )
        if each.h2d and each.compute and each.d2h and each.h2d.p50 + each.d2h.p50 >= each.compute.p50:
            notes.append(f"{Path(each.path).name}: copies take as long as the kernels")
    return notes
