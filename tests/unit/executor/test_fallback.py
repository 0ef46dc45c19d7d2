"""Who serves when an engine fails: at load, at its self-test, while running; and how an engine on trial goes back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.contract.node.health import SelfTest
from runtime.contract.node.runtime_config import FallbackEngine, InputBinding, ModelRuntime, OutputBinding
from runtime.engines.errors import EngineError
from runtime.executor.inputs.frames import Stamp
from runtime.executor.serving.candidates import Candidate, configured, prepare
from runtime.executor.serving.loading import LoadedEngine, engine_folder
from runtime.executor.serving.pipeline import (
    ACTIVE,
    FAILED,
    INACTIVE,
    MAX_CONSECUTIVE_FAILURES,
    TRIAL_FRAMES,
    Pending,
    Pipeline,
)
from tests.unit.executor.test_pipeline import IDENTITY, FakeRunner, model

GOOD = SelfTest(True, 1.0, 0.9, "fine")


def with_fallback(on_failure: str = "") -> ModelRuntime:
    small = FallbackEngine(
        "small", "fp16", "sha256:small", (InputBinding("pixels", "/in", "sensor_msgs/msg/Image", "rgb8", 2, 2),),
        (OutputBinding("z", "~/ignored", "tensor"),), 2,
    )  # fmt: skip
    return replace(model(), fallback=small, on_failure=on_failure)


class SmallRunner(FakeRunner):
    """The fallback: other names for its tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.identity = replace(IDENTITY, model="small", key="sha256:small", engine_sha256="ee")
        self.inputs = {"pixels": np.zeros((1, 2, 2, 3), np.uint8)}

    def infer(self) -> Any:
        if self.error is not None:
            raise self.error
        return {"z": np.full((1, 4), -1, np.float32)}


class Rig:
    """A pipeline whose engines are fakes by model name; what fails is chosen per test."""

    def __init__(
        self, wanted: ModelRuntime, refused: dict[str, str] | None = None, untrue: tuple[str, ...] = ()
    ) -> None:
        self.runners: dict[str, FakeRunner] = {"m": FakeRunner(), "small": SmallRunner()}
        self.loaded: list[str] = []
        self.refused, self.untrue = refused or {}, untrue
        self.results: list[Any] = []
        self.asked: list[Candidate] = []
        self.pipeline = Pipeline(wanted, threading.Condition(), lambda: 2_000_000_000)
        self.pipeline.slot.replace_engine = self.asked.append
        self.publishers = {"~/out": lambda stamp, result: self.results.append((stamp.frame_id, result.values[0, 0]))}
        self.pipeline.slot.load(Path("engines"), self.publishers, self.loader)
        self.pipeline.activate()

    def loader(self, wanted: ModelRuntime, folder: Path) -> LoadedEngine:
        self.loaded.append(wanted.name)
        if wanted.name in self.refused:
            raise EngineError("corrupt", self.refused[wanted.name], "")
        runner = self.runners[wanted.name]
        test = GOOD if wanted.name not in self.untrue else SelfTest(False, 0.1, 0.9, "cosine 0.1 < 0.9")
        return LoadedEngine(runner, runner.identity, test)

    def frame(self, value: int) -> None:
        self.pipeline.offer("x", Pending(Stamp(1, 5, f"f{value}"), np.full((2, 2, 3), value, np.uint8)), 0)
        self.pipeline.step()

    def prepared(self, candidate: Candidate) -> Any:
        return prepare(self.pipeline.model, candidate, self.publishers, self.loader)


@pytest.mark.parametrize(
    ("rig", "why"),
    [
        (lambda: Rig(with_fallback(), refused={"m": "torn"}), "m fp32: torn"),
        (lambda: Rig(with_fallback(), untrue=("m",)), "m fp32: self-test failed: cosine 0.1 < 0.9"),
    ],
    ids=["load", "self-test"],
)
def test_the_fallback_serves_what_cannot_be_loaded_or_is_wrong(rig: Callable[[], Rig], why: str) -> None:
    one = rig()
    one.frame(7)
    assert one.results == [("f7", -1.0)]
    health = one.pipeline.health()
    assert (health.state, health.serving, health.serving_model, health.precision) == (
        ACTIVE,
        "fallback",
        "small",
        "fp16",
    )
    assert (health.engine_key, health.serving_reason) == ("sha256:small", why)
    assert health.self_test == GOOD


def test_without_a_fallback_or_with_a_broken_one_the_model_is_failed_with_every_reason() -> None:
    assert Rig(model(), refused={"m": "torn"}).pipeline.health().last_error == "torn"
    both = Rig(with_fallback(), refused={"m": "torn", "small": "gone"}).pipeline
    assert (both.state, both.health().serving) == (FAILED, "")
    assert both.health().last_error == "m fp32: torn; then small fp16: gone"


def test_a_declared_command_answers_for_a_failed_model() -> None:
    rig = Rig(replace(with_fallback("zero"), fallback=None), refused={"m": "torn"})
    assert (rig.pipeline.state, rig.pipeline.health().serving) == (FAILED, "zero")


def test_failures_in_a_row_ask_once_for_the_fallback_and_a_waiting_frame_is_answered_by_it() -> None:
    rig = Rig(with_fallback())
    rig.runners["m"].error = EngineError("internal", "cuda says no", "")
    for count in range(MAX_CONSECUTIVE_FAILURES + 2):
        rig.frame(count)
    assert rig.pipeline.state == FAILED
    [candidate] = rig.asked
    assert (candidate.source, candidate.model.name) == ("fallback", "small")
    assert candidate.reason == "m fp32: 5 inferences in a row failed: cuda says no"
    rig.pipeline.offer("x", Pending(Stamp(1, 5, "waits"), np.zeros((2, 2, 3), np.uint8)), 0)
    rig.pipeline.slot.install(rig.prepared(candidate))
    rig.pipeline.step()
    assert rig.results == [("waits", -1.0)]
    assert rig.runners["m"].closed
    health = rig.pipeline.health()
    assert (health.state, health.serving, health.errors, health.frames, health.drops) == (ACTIVE, "fallback", 7, 1, 0)


def test_when_the_fallback_fails_too_nothing_more_is_tried() -> None:
    rig = Rig(with_fallback(), refused={"m": "torn"})
    rig.runners["small"].error = EngineError("internal", "so does this", "")
    for count in range(MAX_CONSECUTIVE_FAILURES):
        rig.frame(count)
    assert (rig.pipeline.state, rig.asked) == (FAILED, [])


def test_a_replacement_that_cannot_serve_leaves_both_reasons() -> None:
    rig = Rig(with_fallback())
    rig.runners["m"].error = EngineError("internal", "cuda says no", "")
    for count in range(MAX_CONSECUTIVE_FAILURES):
        rig.frame(count)
    rig.pipeline.slot.replacement_failed(rig.asked[0], "gone")
    assert rig.pipeline.health().last_error == (
        "m fp32: 5 inferences in a row failed: cuda says no; then small fp16: gone"
    )
    assert len(rig.asked) == 1


def swapped_in(rig: Rig) -> FakeRunner:
    new = FakeRunner()
    new.identity = replace(IDENTITY, key="sha256:new")
    candidate = Candidate("swapped", replace(rig.pipeline.model, engine_key="sha256:new"), Path("swap"), "put in")
    rig.pipeline.slot.install(
        prepare(rig.pipeline.model, candidate, rig.publishers, lambda *_: LoadedEngine(new, new.identity, GOOD)),
        keep_old=True,
    )
    return new


def test_an_engine_on_trial_that_fails_a_frame_gives_way_and_the_frame_is_answered() -> None:
    rig = Rig(model())
    new = swapped_in(rig)
    rig.frame(1)
    assert rig.pipeline.health().engine_key == "sha256:new"
    new.error = EngineError("internal", "no such kernel", "")
    rig.frame(2)
    assert rig.results == [("f1", 1.0), ("f2", 2.0)]
    health = rig.pipeline.health()
    assert (health.engine_key, health.serving, health.errors, new.closed) == ("sha256:k", "configured", 0, True)
    assert "no such kernel" in rig.pipeline.slot.swap_note


def test_the_engine_before_is_kept_for_the_trial_and_freed_after_it() -> None:
    rig = Rig(model())
    swapped_in(rig)
    for count in range(TRIAL_FRAMES):
        assert not rig.runners["m"].closed
        rig.frame(count)
    assert rig.runners["m"].closed
    assert rig.pipeline.health().serving == "swapped"


def test_an_engine_that_fails_after_its_trial_is_replaced_by_the_configured_one() -> None:
    rig = Rig(with_fallback())
    new = swapped_in(rig)
    for count in range(TRIAL_FRAMES):
        rig.frame(count)
    new.error = EngineError("internal", "late", "")
    for count in range(MAX_CONSECUTIVE_FAILURES):
        rig.frame(count)
    [candidate] = rig.asked
    assert (candidate.source, candidate.model.name) == ("configured", "m")
    rig.pipeline.slot.replacement_failed(candidate, "gone")
    assert [(one.source, one.model.name) for one in rig.asked] == [("configured", "m"), ("fallback", "small")]


def test_an_inactive_model_takes_another_engine_and_stays_inactive() -> None:
    rig = Rig(model())
    rig.pipeline.deactivate()
    swapped_in(rig)
    assert rig.pipeline.state == INACTIVE


def test_close_frees_both_engines_of_a_trial() -> None:
    rig = Rig(model())
    new = swapped_in(rig)
    rig.pipeline.slot.close()
    assert (rig.runners["m"].closed, new.closed, rig.pipeline.slot.open) == (True, True, False)


def test_an_engines_folder_names_its_precision_and_older_images_still_work(tmp_path: Path) -> None:
    assert engine_folder(tmp_path, model()) == tmp_path / "m"
    (tmp_path / "m" / "fp32").mkdir(parents=True)
    assert engine_folder(tmp_path, model()) == tmp_path / "m" / "fp32"
    assert configured(model(), tmp_path).source == "configured"
