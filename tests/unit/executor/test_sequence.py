"""What a model keeps from frame to frame: when it begins anew, what is counted, and what is never fed back."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.contract.engine.build import AccuracyGate, DeviceFacts, EngineIdentity, TensorSpec
from runtime.contract.engine.model_front import StateSpec
from runtime.contract.node.health import SelfTest
from runtime.contract.node.inputs import FLOAT32_ARRAY
from runtime.contract.node.runtime_config import InputBinding, ModelRuntime, OutputBinding, StateRule
from runtime.engines.errors import EngineError
from runtime.executor.inputs.frames import FrameRefusedError, Stamp
from runtime.executor.serving.candidates import configured, prepare
from runtime.executor.serving.loading import LoadedEngine, _check_bindings
from runtime.executor.serving.pipeline import FAILED, MAX_CONSECUTIVE_FAILURES, Pending, Pipeline

IDENTITY = EngineIdentity(
    "sha256:k", "m", "onnxruntime", "fp32", "engine.onnx", "ff", 1, DeviceFacts("linux/amd64"),
    (TensorSpec("x", (1, 1)), TensorSpec("sum_in", (1, 1))), (TensorSpec("y", (1, 1)), TensorSpec("sum_out", (1, 1))),
    AccuracyGate(), state=(StateSpec("sum_in", "sum_out", shape=(1, 1)),),
)  # fmt: skip


class Summing:
    """An engine whose state is the sum of all that it has seen."""

    def __init__(self) -> None:
        self.identity = IDENTITY
        self.inputs = {name: np.zeros((1, 1), np.float32) for name in ("x", "sum_in")}
        self.error: Exception | None = None

    def infer(self) -> Mapping[str, Any]:
        if self.error is not None:
            raise self.error
        total = self.inputs["sum_in"] + self.inputs["x"]
        return {"y": total, "sum_out": total * 1.0}

    def close(self) -> None:
        pass


class Bench:
    def __init__(self, **rule: Any) -> None:
        self.runner = Summing()
        self.results: list[float] = []
        self.model = ModelRuntime(
            "m", "fp32", "sha256:k", (InputBinding("x", "/in", FLOAT32_ARRAY, shape=(1, 1)),),
            (OutputBinding("y", "~/out", "tensor"),), state=(StateRule("sum_in", **rule),),
        )  # fmt: skip
        self.pipeline = Pipeline(self.model, threading.Condition(), lambda: 0)
        self.publish = {"~/out": lambda _stamp, result: self.results.append(float(result.values[0, 0]))}
        self.pipeline.slot.load(Path("unused"), self.publish, self.loader)
        self.pipeline.activate()

    def loader(self, _model: ModelRuntime, _folder: Path) -> LoadedEngine:
        return LoadedEngine(self.runner, IDENTITY, SelfTest(True, 1.0, 0.9, ""))

    def frame(self, at_s: float, value: float = 1.0, fill: Any = None) -> None:
        stamp = Stamp(int(at_s), round(at_s % 1 * 1e9), "")
        usual = fill or (lambda data, tensor: tensor.fill(data))
        self.pipeline.offer("x", Pending(stamp, value, usual), 0)
        self.pipeline.step()

    @property
    def resets(self) -> dict[str, int]:
        return self.pipeline.health().state_resets


def refuse(data: Any, tensor: Any) -> None:
    raise FrameRefusedError("a frame of another size", "size")


def test_what_a_frame_gave_goes_into_the_next_one() -> None:
    bench = Bench()
    for index in range(4):
        bench.frame(100 + index * 0.1)
    assert bench.results == [1, 2, 3, 4]
    assert bench.resets == {}


def test_a_gap_begins_a_new_sequence_and_is_counted_with_its_length() -> None:
    bench = Bench(gap_s=0.5)
    for at in (100.0, 100.4, 101.0, 101.1):
        bench.frame(at)
    assert bench.results == [1, 2, 1, 2]
    assert bench.resets == {"gap": 1}
    assert bench.pipeline.health().last_state_reset == "gap: sum_in: 0.600 s without a frame"


def test_a_clock_that_was_set_back_begins_a_new_sequence() -> None:
    bench = Bench()
    for at in (100.0, 100.1, 50.0, 50.1, 49.9):
        bench.frame(at)
    assert bench.results == [1, 2, 1, 2, 3], "a frame that came late by less than the gap goes on"
    assert bench.resets == {"clock_back": 1}
    assert "stamps went back by 50.100 s" in bench.pipeline.health().last_state_reset


def test_a_sequence_that_never_ends_outlives_gaps() -> None:
    bench = Bench(reset="never", failed_frame="keep")
    for at in (100.0, 200.0, 50.0):
        bench.frame(at)
    assert bench.results == [1, 2, 3]
    assert bench.resets == {}


@pytest.mark.parametrize(("failed_frame", "then"), [("reset", 1.0), ("keep", 3.0)])
@pytest.mark.parametrize("how", ["refused", "inference"])
def test_a_frame_that_came_to_nothing(failed_frame: str, then: float, how: str) -> None:
    bench = Bench(failed_frame=failed_frame)
    bench.frame(100.0)
    bench.frame(100.1)
    for at in (100.2, 100.3):
        bench.runner.error = EngineError("internal", "the GPU is gone", "") if how == "inference" else None
        bench.frame(at, fill=refuse if how == "refused" else None)
    bench.runner.error = None
    bench.frame(100.4)
    assert bench.results == [1, 2, then]
    assert bench.resets == ({"failed_frame": 1} if failed_frame == "reset" else {}), "the second had nothing to lose"


def test_what_is_not_finite_is_refused_counted_and_never_fed_back() -> None:
    bench = Bench(reset="never", failed_frame="keep")
    bench.frame(100.0)
    bench.frame(100.1, value=float("inf"))
    bench.frame(100.2)
    assert bench.results == [1, 1]
    health = bench.pipeline.health()
    assert (health.state_resets, health.errors) == ({"not_finite": 1}, 1)
    assert "'sum_out' holds values that are not finite" in health.last_error
    assert not np.isinf(bench.runner.inputs["sum_in"]).any()


def test_a_model_that_gives_nothing_else_fails() -> None:
    bench = Bench()
    for index in range(MAX_CONSECUTIVE_FAILURES):
        bench.frame(100.0 + index * 0.1, value=float("nan"))
    assert bench.pipeline.state == FAILED


def test_another_engine_begins_with_nothing() -> None:
    bench = Bench()
    bench.frame(100.0)
    bench.frame(100.1)
    tell = bench.pipeline.stats.state_reset
    first, bench.runner = bench.runner, Summing()
    serving = prepare(bench.model, configured(bench.model, Path("unused")), bench.publish, bench.loader, tell)
    bench.pipeline.slot.install(serving, keep_old=True)
    bench.frame(100.2)
    bench.runner.error = EngineError("internal", "it fails on trial", "")
    bench.frame(100.3)
    assert bench.results == [1, 2, 1, 1], "the engine before answers, and remembers nothing either"
    assert first.inputs["sum_in"].tolist() == [[1.0]]
    assert bench.resets["engine"] == 1
    assert bench.resets["failed_frame"] == 1


def test_a_node_that_was_inactive_begins_with_nothing() -> None:
    bench = Bench(reset="never")
    bench.frame(100.0)
    bench.pipeline.deactivate()
    bench.pipeline.activate()
    bench.frame(100.1)
    assert bench.results == [1, 1]
    assert bench.resets == {"activated": 1}


def test_the_newest_input_says_when_a_set_was_taken() -> None:
    """A command that comes once a minute is no gap."""
    bench = Bench()
    old, new = Pending(Stamp(40, 0, ""), 0), Pending(Stamp(100, 5, ""), 0)
    assert bench.pipeline._taken_ns({"command": old, "x": new}) == 100_000_000_005


def test_configuration_and_engine_must_keep_the_same() -> None:
    bench = Bench()
    with pytest.raises(EngineError, match="it keeps state none, and its engine sum_in"):
        _check_bindings(replace(bench.model, state=()), IDENTITY)
    with pytest.raises(EngineError, match="it keeps state sum_in, and its engine none"):
        _check_bindings(bench.model, replace(IDENTITY, state=()))
    _check_bindings(bench.model, IDENTITY)
