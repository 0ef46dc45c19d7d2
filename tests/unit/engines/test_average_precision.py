"""Mean average precision of boxes: by hand, against COCO's own evaluation, and as the gate of a real build."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from runtime.contract.codec import canonical_json, from_json, to_dict
from runtime.contract.engine.build import (
    AccuracyGate,
    BuildFailure,
    BuildOptions,
    EngineReport,
    Int8Options,
    TensorSpec,
)
from runtime.contract.engine.task_metric import MetricGate, TaskMetric
from runtime.decoding.frame_boxes import Boxes
from runtime.engines.build.job import EXIT_FAILED, EXIT_GATE, run
from runtime.engines.errors import EngineError
from runtime.engines.golden.average_precision import mean_average_precision, per_class
from runtime.engines.golden.task_metric import measure_metric
from tests.unit.engines.models import IMAGE, conv_net, make_job

Row = tuple[float, ...]
"""class, score, left, top, width, height."""


def boxes(*rows: Row) -> Boxes:
    table = np.asarray(rows, np.float64).reshape(-1, 6)
    table = table[np.argsort(-table[:, 1], kind="stable")]
    return Boxes(table[:, 2:].astype("f4"), table[:, 1].astype("f4"), "", table[:, 0].astype(np.int64))


CAT, DOG = (0, 1.0, 0, 0, 10, 10), (1, 1.0, 50, 50, 20, 20)
FAR: Row = (0, 0.9, 300, 300, 10, 10)


def test_by_hand_two_of_three_found_with_one_wrong_between() -> None:
    """Hit, miss, hit over three boxes: precision 1 up to recall 1/3, 2/3 up to recall 2/3, 0 beyond."""
    there = [boxes(CAT, (0, 1.0, 100, 0, 10, 10)), boxes((0, 1.0, 0, 40, 10, 10))]
    found = [boxes((0, 0.9, 0, 0, 10, 10), (0, 0.8, 200, 0, 10, 10)), boxes((0, 0.7, 0, 41, 10, 10))]
    # recalls 0.00 to 0.33 are 34 points, 0.34 to 0.66 are 33 more, of 101
    assert mean_average_precision(found, there) == pytest.approx((34 * 1.0 + 33 * 2 / 3) / 101)


def test_the_order_of_scores_decides_not_that_of_frames() -> None:
    there = [boxes(), boxes(CAT)]
    sure_of_the_wrong = mean_average_precision([boxes(FAR), boxes((0, 0.5, 0, 0, 10, 10))], there)
    sure_of_the_right = mean_average_precision([boxes((0, 0.4, *FAR[2:])), boxes((0, 0.5, 0, 0, 10, 10))], there)
    assert (sure_of_the_wrong, sure_of_the_right) == (pytest.approx(0.5), pytest.approx(1.0))


def test_a_box_is_found_once_and_the_second_look_is_wrong() -> None:
    twice = boxes((0, 0.9, 0, 0, 10, 10), (0, 0.8, 0, 0, 10, 9))
    assert mean_average_precision([twice], [boxes(CAT, (0, 1.0, 100, 100, 5, 5))]) == pytest.approx(51 / 101)


@pytest.mark.parametrize(("width", "found"), [(20.0, 1.0), (20.01, 0.0)])
def test_half_an_overlap_is_one(width: float, found: float) -> None:
    assert mean_average_precision([boxes((0, 0.9, 0, 0, width, 10))], [boxes(CAT)]) == pytest.approx(found)


def test_a_class_that_one_side_alone_has_counts_nothing_found() -> None:
    both = boxes((0, 0.9, *CAT[2:]))
    assert per_class([both], [boxes(CAT, DOG)]) == {0: pytest.approx(1.0), 1: 0.0}
    assert per_class([boxes((0, 0.9, *CAT[2:]), DOG)], [boxes(CAT)]) == {0: pytest.approx(1.0), 1: 0.0}
    assert mean_average_precision([boxes()], [boxes()]) is None


def test_the_same_as_coco_s_own_evaluation() -> None:
    case = json.loads((Path(__file__).parent / "coco_case.json").read_text())
    own = [boxes(*frame["own"]) for frame in case["frames"]]
    reference = [boxes(*((row[0], 1.0, *row[1:]) for row in frame["reference"])) for frame in case["frames"]]
    assert list(per_class(own, reference).values()) == pytest.approx(case["average_precision"], abs=1e-12)
    assert mean_average_precision(own, reference) == pytest.approx(case["mean"], abs=1e-12)


GATE = MetricGate("map50", "boxes", decoder={"threshold": 0.5, "classes": 2})


def measured(own: Any, fp32: Any, gate: MetricGate = GATE, inputs: tuple[TensorSpec, ...] = (IMAGE,)) -> float:
    return measure_metric(gate, [{"boxes": own}], [{"boxes": fp32}], [], inputs).to_fp32


def rows(*found: Row) -> Any:
    """One frame of a detector's output (1, n, 4 + 2), centres and sizes in pixels of the network's 16 x 20."""
    return np.asarray([found], "f4")


def test_what_the_robot_publishes_is_measured_threshold_and_suppression_included() -> None:
    nothing = (0.0,) * 6
    there = rows((5, 5, 4, 4, 0.6, 0), (15, 10, 4, 4, 0.6, 0), nothing)
    assert measured(there, there) == pytest.approx(1.0)
    unsure = rows((5, 5, 4, 4, 0.51, 0), (15, 10, 4, 4, 0.49, 0), nothing)
    assert measured(unsure, there) == pytest.approx(51 / 101), "not published"
    sure = rows((5, 5, 4, 4, 0.76, 0), (15, 10, 4, 4, 0.6, 0), nothing)
    assert measured(sure, there) < 0.6, "in the right place with a wrong score"
    there = rows((5, 5, 4, 4, 0.9, 0), (15, 10, 4, 4, 0.8, 0), nothing)
    twice = rows((5, 5, 4, 4, 0.9, 0), (5, 5, 4, 4.2, 0.85, 0), (15, 10, 4, 4, 0.8, 0))
    assert measured(twice, there) == pytest.approx(1.0), "suppressed, and so not published"
    kept = MetricGate("map50", "boxes", decoder={"threshold": 0.5, "iou": 1.0, "classes": 2})
    assert measured(twice, there, kept) < 0.9


def test_boxes_of_several_tensors_and_of_any_head_are_measured() -> None:
    roles = {"boxes": "b", "scores": "s"}
    options = {"head": "detr", "sigmoid": True, "normalized": False, "classes": 1, "threshold": 0.5}
    gate = MetricGate("map50", "b", decoder=options, tensors=roles)

    def answers(*logits: float) -> dict[str, Any]:
        places = np.array([[[5, 5, 4, 4], [15, 10, 4, 4]]], "f4")
        return {"b": places, "s": np.array([logits], "f4")[..., None]}

    both, one = answers(2.0, 2.0), answers(2.0, -2.0)
    kept = {name: values[0] for name, values in both.items()}  # as golden data has them, without the batch
    found = measure_metric(gate, [one], [both], [kept], (IMAGE,))
    assert (found.to_fp32, found.to_golden) == (pytest.approx(51 / 101), pytest.approx(51 / 101))
    assert measure_metric(gate, [both], [both], [], (IMAGE,)).to_fp32 == pytest.approx(1.0)
    with pytest.raises(EngineError, match="map50 needs boxes, and output 'b' has decoder depth"):
        measure_metric(replace(gate, decoder_name="depth"), [both], [both], [], (IMAGE,))


def test_boxes_at_an_angle_are_measured_as_polygons() -> None:
    gate = MetricGate("map50", "y", decoder={"classes": 1, "threshold": 0.5}, decoder_name="oriented_boxes")

    def answer(angle: float) -> dict[str, Any]:
        return {"y": np.array([[[8.0, 8.0, 12.0, 2.0, 0.9, angle]]], "f4")}

    assert measure_metric(gate, [answer(0.0)], [answer(0.0)], [], (IMAGE,)).to_fp32 == pytest.approx(1.0)
    assert measure_metric(gate, [answer(1.5)], [answer(0.0)], [], (IMAGE,)).to_fp32 == 0.0


def test_answers_that_are_not_finite_are_as_bad_as_can_be() -> None:
    there = rows((5, 5, 4, 4, 0.9, 0))
    assert measured(there * np.nan, there) == 0.0


@pytest.mark.parametrize(
    ("own", "gate", "inputs", "kind", "says"),
    [
        (rows((5, 5, 4, 4, 0.1, 0)), GATE, (IMAGE,), "golden", "'boxes' gives no box in any golden frame"),
        (np.ones((1, 3, 4)), GATE, (IMAGE,), "bad-model", "refuses output 'boxes' on golden frame 0: boxes needs 4"),
        (np.ones((1, 2, 3, 7)), GATE, (IMAGE,), "bad-model", "boxes: the output needs shape"),
        (rows((1,) * 6), MetricGate("map50", "boxes", decoder={"iuo": 1}), (IMAGE,), "unsupported", "no option 'iuo'"),
        (rows((1,) * 6), GATE, (TensorSpec("image", (1, 3)),), "unsupported", "a model without an image"),
    ],
)  # fmt: skip
def test_what_has_no_meaning_is_refused(own: Any, gate: MetricGate, inputs: Any, kind: str, says: str) -> None:
    with pytest.raises(EngineError) as caught:
        measured(own, own, gate, inputs)
    assert caught.value.kind == kind
    assert says in caught.value.message
    assert caught.value.hint


def detector() -> ModelProto:
    """The tiny network's scores over a grid of 4 x 5 cells, each with a fixed box: ``boxes`` (1, 20, 4 + 2)."""
    model = conv_net()
    across, down = np.meshgrid(np.arange(5) * 4 + 2, np.arange(4) * 4 + 2)
    grid = np.stack([across, down, np.full_like(down, 4), np.full_like(down, 4)], -1).reshape(1, 20, 4).astype("f4")
    model.graph.initializer.extend(
        [numpy_helper.from_array(grid, "grid"), numpy_helper.from_array(np.array([1, 2, 20]), "flat")]
    )
    model.graph.node.extend(
        [
            helper.make_node("MaxPool", ["scores"], ["cells"], kernel_shape=[4, 4], strides=[4, 4]),
            helper.make_node("Reshape", ["cells", "flat"], ["columns"]),
            helper.make_node("Transpose", ["columns"], ["classes"], perm=[0, 2, 1]),
            helper.make_node("Concat", ["grid", "classes"], ["boxes"], axis=2),
        ]
    )
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, 20, 6]))
    return model


JOB = {"model": detector(), "outputs": (TensorSpec("boxes", ()),), "accuracy": AccuracyGate(-1.0)}


def report_of(folder: Path, **changes: Any) -> EngineReport:
    make_job(folder / "job", **{**JOB, **changes})
    assert run(folder / "job", folder / "out") == 0
    return from_json(EngineReport, (folder / "out/report.json").read_bytes())


def failure_of(folder: Path, code: int, **changes: Any) -> BuildFailure:
    make_job(folder / "job", **{**JOB, **changes})
    assert run(folder / "job", folder / "out") == code
    return from_json(BuildFailure, (folder / "out/failure.json").read_bytes())


def test_a_detector_s_build_is_held_against_fp32_and_expected_outputs(tmp_path: Path) -> None:
    gate = MetricGate("map50", "boxes", 0.9, decoder={"threshold": 0.5, "classes": 2})
    report = report_of(tmp_path / "first", metric=gate)
    assert report.metric == TaskMetric("map50", "boxes", pytest.approx(1.0), None, 3, 0.9)
    with np.load(tmp_path / "first/out/golden.npz") as archive:
        golden = dict(archive)
    golden["boxes"] = golden["boxes"].copy()
    golden["boxes"][:, :, 0] += 40 * (np.arange(20) % 2)  # every second box lies elsewhere
    found = failure_of(tmp_path / "second", EXIT_GATE, metric=gate, golden=golden)
    assert found.kind == "accuracy"
    assert found.message.startswith("fp32 map50 0.")
    assert "< 0.9 on output 'boxes' over 3 golden frames, against the golden data's" in found.message


def test_an_int8_detector_is_measured_and_its_nodes_are_looked_for_when_it_fails(tmp_path: Path) -> None:
    int8 = {"precision": "int8", "options": BuildOptions(int8=Int8Options("minmax"))}
    lenient = MetricGate("map50", "boxes", 0.01, decoder={"threshold": 0.5, "classes": 2})
    report = report_of(tmp_path / "yes", metric=lenient, **int8)
    assert report.metric is not None
    assert 0.01 <= report.metric.to_fp32 < 1.0
    strict = MetricGate("map50", "boxes", 1.0, decoder={"threshold": 0.5, "classes": 2})
    found = failure_of(tmp_path / "no", EXIT_GATE, metric=strict, **int8)
    assert found.message.startswith("int8 map50 0.")
    assert found.sensitivity is not None


def test_a_metric_that_cannot_be_measured_is_refused_before_the_build(tmp_path: Path) -> None:
    wrong = MetricGate("map50", "boxes", decoder={"layout": "yyxx", "classes": 2})
    found = failure_of(tmp_path, EXIT_FAILED, metric=wrong)
    assert (found.kind, "boxes.layout is 'yyxx'" in found.message) == ("unsupported", True)


def test_a_gate_travels_with_its_decoder() -> None:
    gate = MetricGate("map50", "boxes", 0.9, decoder={"threshold": 0.4, "labels": ["a", "b"]})
    assert from_json(MetricGate, canonical_json(gate)) == gate
    older = {name: value for name, value in to_dict(gate).items() if name != "decoder"}
    assert from_json(MetricGate, canonical_json(older)).decoder == {}
