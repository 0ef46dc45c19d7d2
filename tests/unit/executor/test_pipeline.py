"""A model at work, without ROS and without an engine: frames in, results out, failures counted and isolated."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.contract.engine.build import AccuracyGate, DeviceFacts, EngineIdentity, TensorSpec
from runtime.contract.node.health import SelfTest
from runtime.contract.node.runtime_config import InputBinding, ModelRuntime, OutputBinding
from runtime.decoding.decoders import Result
from runtime.engines.errors import EngineError
from runtime.executor.inputs.frames import Stamp
from runtime.executor.serving.loading import LoadedEngine
from runtime.executor.serving.pipeline import ACTIVE, FAILED, INACTIVE, MAX_CONSECUTIVE_FAILURES, Pending, Pipeline
from runtime.executor.serving.worker import Worker

IDENTITY = EngineIdentity(
    "sha256:k", "m", "onnxruntime", "fp32", "engine.onnx", "ff", 1, DeviceFacts("linux/amd64"),
    (TensorSpec("x", (1, 2, 2, 3), "uint8"),), (TensorSpec("y", (1, 4)),), AccuracyGate(),
)  # fmt: skip


class FakeRunner:
    """Answers with the first pixel; fails or waits when told."""

    def __init__(self) -> None:
        self.identity = IDENTITY
        self.inputs = {"x": np.zeros((1, 2, 2, 3), np.uint8)}
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.closed = False

    def infer(self) -> Mapping[str, Any]:
        self.entered.set()
        assert self.gate.wait(30)
        if self.error is not None:
            raise self.error
        return {"y": self.inputs["x"].reshape(1, -1)[:, :4].astype(np.float32)}

    def close(self) -> None:
        self.closed = True


def model(name: str = "m", decoder: str = "tensor") -> ModelRuntime:
    return ModelRuntime(
        name, "fp32", "sha256:k", (InputBinding("x", "/in", "sensor_msgs/msg/Image", "rgb8", 2, 2),),
        (OutputBinding("y", "~/out", decoder),),
    )  # fmt: skip


def loader(runner: FakeRunner, passed: bool = True) -> Callable[[ModelRuntime, Path], LoadedEngine]:
    return lambda _model, _folder: LoadedEngine(runner, IDENTITY, SelfTest(passed, 0.5, 0.9, "cosine 0.5 < 0.9"))


class Bench:
    """A pipeline, loaded and active, and what it published."""

    def __init__(self, worker: Worker | None = None, decoder: str = "tensor") -> None:
        self.runner = FakeRunner()
        self.results: list[tuple[Stamp, Result]] = []
        lock = worker.lock if worker is not None else threading.Condition()
        self.pipeline = Pipeline(model(decoder=decoder), lock, lambda: 2_000_000_000)
        publish = {"~/out": lambda stamp, result: self.results.append((stamp, result))}
        self.pipeline.slot.load(Path("unused"), publish, loader(self.runner))
        self.pipeline.activate()

    def offer(self, value: int, nanosec: int = 5, lost: int = 0) -> None:
        pixels = np.full((2, 2, 3), value, np.uint8)
        self.pipeline.offer("x", Pending(Stamp(1, nanosec, f"f{value}"), pixels), lost)


def test_a_frame_becomes_a_result_with_its_stamp() -> None:
    bench = Bench()
    bench.offer(7)
    bench.pipeline.step()
    [(stamp, result)] = bench.results
    assert stamp == Stamp(1, 5, "f7")
    assert result.values.tolist() == [[7, 7, 7, 7]]  # type: ignore[union-attr]
    health = bench.pipeline.health()
    assert (health.state, health.frames, health.drops, health.engine_sha256) == (ACTIVE, 1, 0, "ff")
    assert health.frame_age_ms is not None
    assert health.frame_age_ms.p50 == pytest.approx(999.999995)


def test_only_the_newest_frame_is_looked_at_and_the_rest_is_counted() -> None:
    bench = Bench()
    for value in (1, 2, 3):
        bench.offer(value, lost=value == 3)
    bench.pipeline.step()
    bench.pipeline.step()
    assert [stamp.frame_id for stamp, _ in bench.results] == ["f3"]
    assert bench.pipeline.health().drops == 3


def test_frames_that_the_model_is_not_to_look_at_are_counted_as_dropped() -> None:
    bench = Bench()
    bench.pipeline.duty.set(0.5)
    for value in range(1, 5):
        bench.offer(value)
        bench.pipeline.step()
    assert [stamp.frame_id for stamp, _ in bench.results] == ["f2", "f4"]
    bench.pipeline.duty.set(1.0, "not served: hot")
    bench.offer(5)
    bench.pipeline.step()
    health = bench.pipeline.health()
    assert (len(bench.results), health.drops, health.errors, health.state) == (2, 3, 0, ACTIVE)
    assert health.last_error == "not served: hot"


def test_failures_are_counted_then_fail_the_model_and_a_success_revives_it() -> None:
    bench = Bench()
    bench.runner.error = EngineError("internal", "cuda says no", "look at the log")
    for count in range(1, MAX_CONSECUTIVE_FAILURES + 1):
        bench.offer(1)
        bench.pipeline.step()
        assert bench.pipeline.state == (FAILED if count == MAX_CONSECUTIVE_FAILURES else ACTIVE)
    health = bench.pipeline.health()
    assert health.errors == MAX_CONSECUTIVE_FAILURES
    assert "cuda says no" in health.last_error
    bench.runner.error = None
    bench.offer(2)
    bench.pipeline.step()
    assert bench.pipeline.state == ACTIVE


def test_an_output_the_decoder_cannot_take_is_an_error_not_a_crash() -> None:
    bench = Bench(decoder="mask")
    bench.offer(1)
    bench.pipeline.step()
    assert "mask needs shape" in bench.pipeline.health().last_error


class Outlet:
    """What a velocity output is to the pipeline."""

    def __init__(self) -> None:
        self.results: list[Result] = []
        self.failures: list[str] = []

    def __call__(self, stamp: Stamp, result: Result) -> None:
        self.results.append(result)

    def failed(self, reason: str) -> None:
        self.failures.append(reason)


def test_an_output_that_acts_on_failures_is_told_of_each() -> None:
    runner, outlet = FakeRunner(), Outlet()
    pipeline = Pipeline(model(), threading.Condition(), time.time_ns)
    pipeline.slot.load(Path("unused"), {"~/out": outlet}, loader(runner))
    pipeline.activate()
    for error in (None, EngineError("internal", "cuda says no", "look at the log")):
        runner.error = error
        pipeline.offer("x", Pending(Stamp(1, 5, "f"), np.zeros((2, 2, 3), np.uint8)), 0)
        pipeline.step()
    assert len(outlet.results) == 1
    assert len(outlet.failures) == 1
    assert "cuda says no" in outlet.failures[0]


def test_what_an_output_leaves_out_is_counted() -> None:
    runner = FakeRunner()
    runner.infer = lambda: {"y": np.array([[0.2, 0.2, 0.2, 0.2, 0.9], [0.8, 0.8, 0.2, 0.2, 0.8]])}  # type: ignore[method-assign]
    boxes = OutputBinding("y", "~/out", "boxes", {"max_detections": 1, "normalized": True, "classes": 1})
    pipeline = Pipeline(replace(model(), outputs=(boxes,)), threading.Condition(), time.time_ns)
    seen: list[Result] = []
    pipeline.slot.load(Path("unused"), {"~/out": lambda _stamp, result: seen.append(result)}, loader(runner))
    pipeline.activate()
    for _ in range(2):
        pipeline.offer("x", Pending(Stamp(1, 5, "f"), np.zeros((2, 2, 3), np.uint8)), 0)
        pipeline.step()
    assert (len(seen), pipeline.health().capped) == (2, 2)


def test_a_model_that_must_not_publish_is_refused_with_its_reason() -> None:
    bench = Bench()
    bench.pipeline.deactivate()
    bench.pipeline.refuse("somebody else commands the topic")
    bench.pipeline.activate()
    assert (bench.pipeline.state, bench.pipeline.health().last_error) == (FAILED, "somebody else commands the topic")


def test_a_failed_self_test_fails_the_model_and_frees_the_engine() -> None:
    runner = FakeRunner()
    pipeline = Pipeline(model(), threading.Condition(), time.time_ns)
    pipeline.slot.load(Path("unused"), {"~/out": lambda *_: None}, loader(runner, passed=False))
    pipeline.activate()
    health = pipeline.health()
    assert (pipeline.state, runner.closed) == (FAILED, True)
    assert health.last_error == "self-test failed: cosine 0.5 < 0.9"
    assert health.self_test is not None
    assert not health.self_test.passed


def test_a_bad_decoder_option_fails_the_model_before_its_engine_is_loaded() -> None:
    pipeline = Pipeline(model(decoder="nope"), threading.Condition(), time.time_ns)
    pipeline.slot.load(Path("unused"), {}, lambda *_: pytest.fail("loaded"))
    assert "no decoder 'nope'" in pipeline.health().last_error


@pytest.fixture
def worker() -> Any:
    worker = Worker()
    worker.start()
    yield worker
    assert worker.stop(30)


def until(what: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not what():
        assert time.monotonic() < end, "waited 30 s"
        time.sleep(0.005)


def test_the_worker_serves_models_in_turn(worker: Worker) -> None:
    benches = [Bench(worker), Bench(worker)]
    benches[1].results = benches[0].results  # for the order over both
    benches[0].runner.gate.clear()
    worker.serve([bench.pipeline for bench in benches])
    benches[0].offer(1)
    assert benches[0].runner.entered.wait(30)
    benches[0].offer(2)
    benches[1].offer(9)
    benches[0].runner.gate.set()
    until(lambda: len(benches[0].results) == 3)
    assert [stamp.frame_id for stamp, _ in benches[0].results] == ["f1", "f9", "f2"]


def test_an_idle_worker_beats_and_one_stuck_in_an_engine_does_not(worker: Worker) -> None:
    before = worker.progress
    until(lambda: worker.progress > before + 0.4)
    bench = Bench(worker)
    bench.runner.gate.clear()
    worker.serve([bench.pipeline])
    bench.offer(1)
    assert bench.runner.entered.wait(30)
    stuck = worker.progress
    time.sleep(0.7)
    assert worker.progress == stuck
    assert not worker.pause(0.05)
    bench.runner.gate.set()
    assert worker.pause(30)


def test_nothing_runs_after_a_pause(worker: Worker) -> None:
    bench = Bench(worker)
    worker.serve([bench.pipeline])
    assert worker.pause(30)
    bench.offer(1)
    job = worker.submit(lambda: None)
    assert job.done.wait(30)
    assert bench.results == []
    assert bench.pipeline.state == ACTIVE
    bench.pipeline.deactivate()
    assert bench.pipeline.state == INACTIVE


def test_a_defect_in_a_job_ends_the_worker_and_is_kept() -> None:
    worker = Worker()
    worker.start()
    job = worker.submit(lambda: {}["missing"])
    assert job.done.wait(30)
    until(lambda: not worker.alive)
    assert isinstance(worker.fault, KeyError)


def test_frames_of_another_clock_are_counted_and_no_age_is_negative() -> None:
    bench = Bench()  # the robot's clock says 2 s
    for second in (2, 3602):
        arrived = Stamp(second, 0, "cam", time.monotonic())
        bench.pipeline.offer("x", Pending(arrived, np.zeros((2, 2, 3), np.uint8), arrived_ns=2_000_000_000), 0)
        bench.pipeline.step()
    health = bench.pipeline.health()
    assert health.causes == {"clock_ahead": 1}
    assert health.drops == health.errors == 0
    assert [said.partition(" s ahead")[0] for said in health.clock] == ["/in: stamps are 3600.000"]
    assert health.frame_age_ms is not None
    assert 0.0 <= health.frame_age_ms.p50 < 1000.0


def test_an_output_that_acts_on_failures_hears_why_no_frame_is_looked_at() -> None:
    outlet = Outlet()
    pipeline = Pipeline(model(), threading.Condition(), time.time_ns)
    pipeline.slot.load(Path("unused"), {"~/out": outlet}, loader(FakeRunner()))
    pipeline.activate()
    pipeline.duty.set(1.0, "not served: hot: tj-thermal 96 °C")
    pipeline.offer("x", Pending(Stamp(1, 5, ""), np.zeros((2, 2, 3), np.uint8)), 0)
    pipeline.step()
    assert (outlet.results, outlet.failures) == ([], ["not served: hot: tj-thermal 96 °C"])
