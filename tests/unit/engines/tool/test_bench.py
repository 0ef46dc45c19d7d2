"""Measuring: rounds, order, what is counted; on a clock that the engines themselves move."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from runtime.engines.golden.bench import MIN_ITERATIONS
from runtime.engines.golden.golden_data import Golden
from runtime.engines.tool.bench import Contender, in_turn, latency_of, ratio_of


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Engine:
    """Takes the given seconds, one after another and again, on the shared clock."""

    clock: Clock
    seconds: list[float]
    log: list[str]
    name: str
    inputs: Mapping[str, Any] = field(default_factory=lambda: {"x": np.zeros((1, 2))})
    seen: list[float] = field(default_factory=list)
    identity: Any = None

    def infer(self) -> Mapping[str, Any]:
        self.clock.now += self.seconds[len(self.seen) % len(self.seconds)]
        self.seen.append(float(self.inputs["x"][0, 0]))
        self.log.append(self.name)
        return {}

    def close(self) -> None:
        pass


def contenders(*seconds: list[float]) -> tuple[Clock, list[str], list[Contender]]:
    clock, log = Clock(), []
    frames = Golden({"x": np.asarray([[1.0, 0], [2.0, 0], [3.0, 0]])}, {})
    return (
        clock,
        log,
        [Contender(Engine(clock, each, log, name), frames) for name, each in zip("AB", seconds, strict=False)],
    )


def measure(clock: Clock, engines: list[Contender], **options: Any) -> None:
    values = {"seconds": 1.0, "iterations": None, "warm_up_seconds": 0.0}
    in_turn(engines, **{**values, **options}, clock=clock)


def test_each_runs_for_the_asked_time_in_rounds_that_change_who_begins() -> None:
    clock, log, (one, other) = contenders([0.0625], [0.0625])
    measure(clock, [one, other])
    assert (one.spent, other.spent) == (1.0, 1.0)
    assert (len(one.samples), len(other.samples)) == (16, 16)
    assert log[:2] == ["A", "B"]  # the warm-up, not counted
    rounds = "".join(log[2:])
    assert rounds.startswith("AABBBBAAAABB")


def test_the_warm_up_is_not_counted() -> None:
    clock, log, (one,) = contenders([0.5, *[0.01] * 1000])
    measure(clock, [one], seconds=0.2)
    assert max(one.samples) == pytest.approx(10.0)
    assert len(log) == len(one.samples) + 1


def test_slow_engines_run_ten_times_all_the_same() -> None:
    clock, _, (one,) = contenders([7.0])
    measure(clock, [one], seconds=0.5)
    assert len(one.samples) == MIN_ITERATIONS


def test_iterations_are_counted_exactly() -> None:
    clock, _, (one, other) = contenders([0.001], [0.004])
    measure(clock, [one, other], iterations=137)
    assert (len(one.samples), len(other.samples)) == (137, 137)


def test_frames_take_turns() -> None:
    clock, _, (one,) = contenders([0.1])
    measure(clock, [one], iterations=5)
    assert one.runner.seen[1:] == [1, 2, 3, 1, 2]  # type: ignore[attr-defined]


def test_the_ratio_is_the_seconds_over_the_firsts() -> None:
    clock, _, (one, other) = contenders([0.02], [0.01])
    measure(clock, [one, other])
    ratio = ratio_of(one, other)
    assert (ratio.p50, ratio.mean, ratio.round_median) == (pytest.approx(0.5),) * 3
    assert ratio.round_low <= ratio.round_median <= ratio.round_high
    assert ratio.rounds == min(len(one.round_means), len(other.round_means))


def test_statistics_are_those_of_numpy() -> None:
    samples = [1.0, 2.0, 3.0, 4.0, 10.0]
    found = latency_of(samples)
    assert (found.p50, found.min, found.max, found.mean, found.count) == (3.0, 1.0, 10.0, 4.0, 5)
    assert found.p95 == pytest.approx(np.percentile(samples, 95))
    assert found.variation == pytest.approx(np.std(samples) / 4.0)
