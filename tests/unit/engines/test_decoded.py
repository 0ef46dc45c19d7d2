"""Decoders on golden frames: run in every build and self-test, judged against fp32, never silent about nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

from runtime.contract.codec import from_json
from runtime.contract.engine.accuracy_gate import lost
from runtime.contract.engine.build import (
    FAILURE_FILE,
    REPORT_FILE,
    AccuracyGate,
    BuildFailure,
    BuildJob,
    EngineReport,
    TensorSpec,
)
from runtime.contract.engine.decoded import NOTHING, OutputDecoder
from runtime.decoding.frame_boxes import Boxes, View
from runtime.engines.build.decoded_gate import UNPROVEN, judge_decoded
from runtime.engines.build.job import EXIT_BUILT, EXIT_FAILED, run
from runtime.engines.errors import EngineError
from runtime.engines.golden.agreement import agreement
from runtime.engines.golden.selftest import self_test
from runtime.engines.onnxruntime_ import BACKEND
from tests.unit.engines.models import IMAGE, initializer, make_job

VIEW = View(24, 32, network_height=16, network_width=20)
PEOPLE = OutputDecoder("boxes", "boxes", {"layout": "xyxy", "classes": 2, "threshold": 0.5})


def rows(*scores: float, shift: float = 0.0, number: int = 0) -> np.ndarray:
    """Candidates side by side, (1, n, 4 + 2): scores of class ``number``."""
    found = np.zeros((1, len(scores), 6), "f4")
    for index, score in enumerate(scores):
        left = 6 * index + shift
        found[0, index, :4] = left, 2, left + 4, 10
        found[0, index, 4 + number] = score
    return found


def judged(
    own: Sequence[np.ndarray], fp32: Sequence[np.ndarray], decoder: OutputDecoder = PEOPLE, **changes: Any
) -> tuple[Any, list[str]]:
    """Judge answers as a build does, without one."""
    job: BuildJob = replace(JOB, decoders=(decoder,), **changes)
    samples = [[{decoder.output: frame} for frame in side] for side in (own, fp32)]
    return judge_decoded(job, samples[0], samples[1], lambda _: None)


@pytest.fixture(scope="module", autouse=True)
def _job(tmp_path_factory: pytest.TempPathFactory) -> None:
    global JOB  # noqa: PLW0603
    JOB = make_job(tmp_path_factory.mktemp("job"), precision="int8", accuracy=AccuracyGate(0.99))


JOB: BuildJob


def test_what_was_found_stands_in_the_report() -> None:
    (found,), notes = judged([rows(0.9, 0.81), rows(0.1)], [rows(0.92, 0.8), rows(0.1)])
    assert (found.found, found.empty_frames, found.agreement, notes) == (2, 1, 1.0, [])
    assert found.said == "2 boxes in 2 frames (0 to 2 a frame), scores 0.810 to 0.900: 0 x2"


@pytest.mark.parametrize(
    ("own", "why"),
    [
        (rows(0.9, 0.1, 0.9), "one of three is lost"),
        (rows(0.9, 0.9, 0.9, shift=4), "all lie elsewhere"),
        (rows(0.9, 0.9, 0.9, number=1), "all are of another class"),
        (rows(0.7, 0.7, 0.7), "all scores are others"),
        (rows(0.9, 0.9, 0.9, 0.9, 0.9), "two are invented"),
    ],
)
def test_lost_moved_and_invented_boxes_fail_the_build(own: np.ndarray, why: str) -> None:
    with pytest.raises(
        EngineError, match=r"int8 decoder boxes: agreement with the reference 0\.\d+ < 0\.900"
    ) as caught:
        judged([own], [rows(0.9, 0.9, 0.9)])
    assert caught.value.kind == "accuracy", why
    _, notes = judged([own], [rows(0.9, 0.9, 0.9)], enforce_accuracy=False)
    assert notes[0].startswith("accuracy gate waived: int8 decoder boxes")


def test_what_rounding_decides_at_the_threshold_costs_nothing() -> None:
    (found,), _ = judged([rows(0.9, 0.49, 0.51)], [rows(0.9, 0.51, 0.49)])
    assert found.agreement == 1.0


def test_the_limit_is_the_manifests() -> None:
    (found,), _ = judged([rows(0.9, 0.1)], [rows(0.9, 0.9)], accuracy=AccuracyGate(0.9, min_decoded=0.5))
    assert found.agreement == pytest.approx(2 / 3)
    assert lost([found], AccuracyGate(min_decoded=0.7)) != []
    assert lost([found], AccuracyGate(min_decoded=0.6)) == []


def test_nothing_in_any_frame_is_refused_with_the_numbers() -> None:
    with pytest.raises(EngineError, match="finds nothing in any of the 2 golden frames, at fp32 either") as caught:
        judged([rows(0.9)], [rows(0.2, 0.3), rows(0.1)])
    assert caught.value.kind == "golden"
    assert "3 candidates, the best score is 0.300, the threshold 0.5" in caught.value.message
    assert "golden: {expect: nothing}" in caught.value.hint


def test_nothing_may_be_expected_and_proves_no_decoder() -> None:
    (found,), notes = judged([rows(0.1)], [rows(0.2)], golden_expect=NOTHING)
    assert (found.found, notes) == (0, [UNPROVEN])
    with pytest.raises(EngineError, match="agreement with the reference 0"):
        judged([rows(0.9)], [rows(0.2)], golden_expect=NOTHING)


@pytest.mark.parametrize(
    ("decoder", "answer", "said"),
    [
        (OutputDecoder("y", "tensor", {"max_elements": 10}), np.zeros((1, 1, 5, 5), "f4"), "25 elements, max_elements"),
        (OutputDecoder("y", "classification", {}), np.array([[756]], np.int64), "class number is not a score"),
        (OutputDecoder("y", "classification", {}), np.array([[9.0, -3.0]], "f4"), "scores reach from -3 to 9"),
        (OutputDecoder("y", "mask", {}), np.zeros((1, 4), "f4"), "mask needs shape"),
        (OutputDecoder("y", "boxes", {"classes": 1}), np.zeros((1, 56, 30), "f4"), "boxes needs 4 + 1 values"),
        (OutputDecoder("y", "boxes", {"classes": 2}), rows(2.0), "scores reach from 2 to 2"),
    ],
)
def test_a_decoder_that_refuses_every_frame_fails_the_build(
    decoder: OutputDecoder, answer: np.ndarray, said: str
) -> None:
    with pytest.raises(EngineError, match=f"decoder {decoder.name} refuses output 'y' on golden frame 0") as caught:
        judged([answer], [answer], decoder)
    assert caught.value.kind == "bad-model"
    assert said in caught.value.message


def test_class_numbers_of_an_end_to_end_export_are_no_scores() -> None:
    found = rows(0.9, 0.8)
    found[0, :, 5] = (1, 0)  # x, y, x, y, score, class: as many columns as two classes have
    with pytest.raises(EngineError, match=r"whole numbers alone \(class 1\)"):
        judged([found], [found])


def test_scores_that_int8_made_too_large_fail_the_build() -> None:
    with pytest.raises(EngineError, match=r"int8 decoder boxes refuses .* 1\.243, .*and reads the fp32") as caught:
        judged([rows(1.243)], [rows(0.9)])
    assert caught.value.kind == "accuracy"


def test_a_decoder_of_somebodys_own_is_left_to_the_robot() -> None:
    found, notes = judged([rows(0.9)], [rows(0.9)], OutputDecoder("boxes", "their-package:boxes"))
    assert found == ()
    assert "their-package:boxes is run on the robot alone" in notes[0]


def test_agreement_of_results_of_other_kinds() -> None:
    empty = Boxes(np.zeros((0, 4), "f4"), np.zeros(0, "f4"), "text")
    assert agreement([empty], [empty], 0.5) == 1.0


def detector() -> ModelProto:
    """Two boxes whose scores are the picture's mean brightness."""
    grid = np.array([[[0, 0, 8, 8], [10, 2, 18, 12]]], "f4")
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], "mean", axes=[1, 2, 3], keepdims=1),
        helper.make_node("Squeeze", ["mean", "last"], ["flat"], "flat"),
        helper.make_node("Expand", ["flat", "shape"], ["scores"], "scores"),
        helper.make_node("Concat", ["grid", "scores"], ["boxes"], "join", axis=2),
    ]
    weights = {"last": np.array([3], np.int64), "shape": np.array([1, 2, 1], np.int64), "grid": grid}
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "two", [info("image", TensorProto.FLOAT, [1, 3, 16, 20])], [info("boxes", TensorProto.FLOAT, [1, 2, 5])],
        [initializer(name, array) for name, array in weights.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


PLAIN = replace(IMAGE, preprocess=replace(IMAGE.preprocess, mean=(0.0,) * 3, std=(1.0,) * 3))  # type: ignore[type-var]


def bright(*levels: int) -> np.ndarray:
    return np.stack([np.full((24, 32, 3), level, np.uint8) for level in levels])


def test_builder_and_robot_say_what_a_detector_finds(tmp_path: Path) -> None:
    decoder = OutputDecoder("boxes", "boxes", {"layout": "xyxy", "classes": 1, "threshold": 0.5})
    make_job(
        tmp_path / "job", model=detector(), golden={"image": bright(20, 200)}, inputs=(PLAIN,),
        outputs=(TensorSpec("boxes", ()),), decoders=(decoder,),
    )  # fmt: skip
    out = tmp_path / "out"
    assert run(tmp_path / "job", out) == EXIT_BUILT
    report = from_json(EngineReport, (out / REPORT_FILE).read_bytes())
    assert [(item.found, item.empty_frames) for item in report.decoded] == [(2, 1)]
    runner = BACKEND.load(out)
    tested = self_test(runner, report.identity, out / "golden.npz", (decoder,), VIEW)
    assert tested.passed
    assert tested.decoded[0].said in tested.message
    wrong = replace(decoder, options={**decoder.options, "classes": 3})
    refused = self_test(runner, report.identity, out / "golden.npz", (wrong,), VIEW)
    assert not refused.passed
    assert "decoder boxes refuses output 'boxes' on golden frame 0" in refused.message
    blind = replace(decoder, options={**decoder.options, "threshold": 0.99})
    assert "finds nothing in any of the 2" in self_test(
        runner, report.identity, out / "golden.npz", (blind,), VIEW
    ).message  # fmt: skip


def test_a_build_on_dark_frames_is_refused(tmp_path: Path) -> None:
    make_job(
        tmp_path / "job", model=detector(), golden={"image": bright(20, 30)}, inputs=(PLAIN,),
        outputs=(TensorSpec("boxes", ()),),
        decoders=(OutputDecoder("boxes", "boxes", {"layout": "xyxy", "classes": 1}),),
    )  # fmt: skip
    assert run(tmp_path / "job", tmp_path / "out") == EXIT_FAILED
    failure = from_json(BuildFailure, (tmp_path / "out" / FAILURE_FILE).read_bytes())
    assert failure.kind == "golden"
    assert "the best score is 0.118, the threshold 0.25" in failure.message


def classifier() -> ModelProto:
    """The class with the largest weight: class 0 whatever the picture is."""
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], "mean", axes=[1, 2, 3], keepdims=1),
        helper.make_node("Mul", ["mean", "weights"], ["scores"], "scores"),
        helper.make_node("ArgMax", ["scores"], ["label"], "best", axis=3, keepdims=0),
    ]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "always", [info("image", TensorProto.FLOAT, [1, 3, 16, 20])],
        [info("label", TensorProto.INT64, [1, 1, 1])], [initializer("weights", np.array([3, 2, 1], "f4"))],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("expect", ["", NOTHING])
def test_what_a_robots_self_test_would_refuse_fails_the_build(expect: str, tmp_path: Path) -> None:
    make_job(
        tmp_path / "job", model=classifier(), golden={"image": bright(20, 200)}, inputs=(PLAIN,),
        outputs=(TensorSpec("label", ()),), golden_expect=expect,
    )  # fmt: skip
    out = tmp_path / "out"
    if expect:
        assert run(tmp_path / "job", out) == EXIT_BUILT
        runner = BACKEND.load(out)
        assert self_test(runner, runner.identity, out / "golden.npz").passed
        return
    assert run(tmp_path / "job", out) == EXIT_FAILED
    failure = from_json(BuildFailure, (out / FAILURE_FILE).read_bytes())
    assert "expects all zeros of output 'label', frame 0: that proves nothing" in failure.message
    assert "golden: {expect: nothing}" in failure.hint
