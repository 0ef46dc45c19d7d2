"""The task metric: what the numbers are, and a build with ONNX Runtime that one of them lets through or refuses."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

from runtime.contract.codec import canonical_json, from_json
from runtime.contract.engine.build import (
    AccuracyGate,
    BuildFailure,
    BuildOptions,
    EngineReport,
    Int8Options,
    TensorSpec,
)
from runtime.contract.engine.task_metric import MetricGate, TaskMetric, frames_needed, violation, why_too_few
from runtime.engines.build.job import EXIT_FAILED, EXIT_GATE, run
from runtime.engines.errors import EngineError
from runtime.engines.golden.task_metric import check_metric, measure_metric, share_used
from tests.unit.engines.models import conv_net, frames, make_job
from tests.unit.engines.test_sensitivity import dead_channel

NO_COSINE = AccuracyGate(-1.0)
"""Passed by everything finite: what fails is the metric."""
INT8 = BuildOptions(int8=Int8Options("minmax"))


def measured(name: str, own: Any, reference: Any, **options: Any) -> float:
    def samples(values: Any) -> list[dict[str, Any]]:
        return [{"x": np.asarray(value, "f4")} for value in values]

    return measure_metric(MetricGate(name, "x", **options), samples(own), samples(reference), [], ()).to_fp32


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1, 1), (3,)])
def test_top1_is_the_share_of_frames_with_the_same_best_class(shape: tuple[int, ...]) -> None:
    own = [np.reshape(row, shape) for row in ([3, 1, 2], [0, 1, 2], [5, 4, 3], [0, 9, 8])]
    reference = [[9, 1, 2], [0, 1, 7], [5, 4, 6], [1, 2, 0]]  # as golden data has it: without the batch
    assert measured("top1", own, reference) == 0.75


def test_mask_iou_of_classes_leaves_out_what_neither_has() -> None:
    def one_hot(classes: list[list[int]]) -> Any:
        return np.eye(4)[np.array(classes)].transpose(2, 0, 1)[None]

    own, reference = one_hot([[0, 0, 1, 1]]), one_hot([[0, 1, 1, 1]])
    assert measured("mask_iou", [own], [reference]) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert measured("mask_iou", [own, own], [reference, own]) == pytest.approx((3 / 4 + 4 / 5) / 2), "over all frames"


@pytest.mark.parametrize("shape", [(1, 1, 2, 2), (1, 2, 2)])
def test_mask_iou_of_one_channel_is_that_of_what_is_above_the_threshold(shape: tuple[int, ...]) -> None:
    own, reference = np.reshape([0.9, 0.6, 0.1, 0.5], shape), np.reshape([0.9, 0.4, 0.1, 0.1], shape)
    assert measured("mask_iou", [own], [reference]) == 0.5
    assert measured("mask_iou", [own], [reference], threshold=0.7) == 1.0
    with pytest.raises(EngineError, match=r"no value of output 'x' is above 2 in any golden frame") as caught:
        measured("mask_iou", [own], [reference], threshold=2.0)
    assert caught.value.kind == "golden"


def test_mean_abs_error_is_in_the_output_s_unit() -> None:
    assert measured("mean_abs_error", [[[1.0, 2.0]], [[0.0, 0.0]]], [[1.5, 2.0], [0.0, -1.5]]) == 0.5


@pytest.mark.parametrize(("name", "worst"), [("top1", 0.0), ("mask_iou", 0.0), ("mean_abs_error", 3e38)])
def test_values_that_are_not_finite_are_as_bad_as_can_be_and_fit_into_json(name: str, worst: float) -> None:
    shape = (1, 4) if name == "top1" else (1, 1, 2, 2)
    bad = np.full(shape, np.nan, "f4")
    found = measured(name, [bad], [np.ones(shape)])
    assert (found == worst) if worst == 0.0 else found > worst
    assert b"NaN" not in canonical_json(TaskMetric(name, "x", found, None, 1))


@pytest.mark.parametrize(
    ("name", "shape"), [("top1", (1, 2, 4, 4)), ("top1", (1, 1)), ("mask_iou", (1, 4)), ("mask_iou", (1, 2, 3, 4, 5))]
)
def test_an_output_of_another_shape_is_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(EngineError, match="does not apply to output 'x' of shape") as caught:
        measured(name, [np.ones(shape)], [np.ones(shape)])
    assert str(list(shape)) in caught.value.message


@pytest.mark.parametrize(
    ("gate", "kind", "says", "hint"),
    [
        (MetricGate("top-1", "scores"), "unsupported", "no metric 'top-1'", "did you mean top1?"),
        (MetricGate("f1", "scores"), "unsupported", "no metric 'f1'", "top1, mask_iou, map50, mean_abs_error"),
        (MetricGate("top1", "score"), "bad-model", "output 'score', which the model does not have", "mean scores?"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(gate: MetricGate, kind: str, says: str, hint: str) -> None:
    with pytest.raises(EngineError) as caught:
        check_metric(gate, (), ["scores", "boxes"])
    assert caught.value.kind == kind
    assert says in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("limit", "needed"), [(0.99, 100), (0.95, 20), (0.9, 10), (0.75, 4), (0.7, 4), (0.5, 2), (0.3, 2), (1.0, 1)]
)
def test_how_many_frames_a_limit_needs(limit: float, needed: int) -> None:
    assert frames_needed("top1", limit) == needed
    assert why_too_few("top1", limit, needed) == ""
    assert (needed - 1) / needed >= limit - 1e-9 or limit == 1.0, "one frame may be wrong"
    assert frames_needed("mask_iou", limit) == 1


def test_too_few_frames_are_said_with_what_they_can_be() -> None:
    said = "top1 0.99 cannot be judged on 4 golden frames: it would be 1 or at most 0.75"
    assert why_too_few("top1", 0.99, 4) == said
    with pytest.raises(EngineError, match=said) as caught:
        measured("top1", [[[1, 2]]] * 4, [[[1, 2]]] * 4, limit=0.99)
    assert caught.value.kind == "golden"


@pytest.mark.parametrize(
    ("found", "limit", "said"),
    [
        (TaskMetric("top1", "x", 0.9, None, 10), 0.9, ""),
        (TaskMetric("top1", "x", 0.8, None, 10), 0.9, "top1 0.8 < 0.9 on output 'x' over 10 golden frames, against"),
        (TaskMetric("top1", "x", 1.0, 0.8, 10), 0.9, "against the golden data's expected outputs"),
        (TaskMetric("mean_abs_error", "x", 0.25, 0.25, 10), 0.25, ""),
        (TaskMetric("mean_abs_error", "x", 0.250001, None, 10), 0.25, "mean_abs_error 0.250001 > 0.25 on output"),
        (TaskMetric("top1", "x", 0.0, 0.0, 10), None, ""),
    ],
)
def test_a_violation_shows_both_numbers_and_against_what(found: TaskMetric, limit: float | None, said: str) -> None:
    assert said in violation(found, limit)
    assert bool(said) == bool(violation(found, limit))
    assert bool(said) == (share_used(dataclasses.replace(found, limit=limit)) > 1.0)


def classifier() -> ModelProto:
    """The tiny network with one score a class, ``classes`` (1, 2)."""
    model = conv_net()
    model.graph.node.extend(
        [
            helper.make_node("GlobalAveragePool", ["scores"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["classes"]),
        ]
    )
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("classes", TensorProto.FLOAT, ["N", 2]))
    return model


CLASSES = (TensorSpec("classes", ()),)


def build(folder: Path, **changes: Any) -> EngineReport:
    make_job(folder / "job", **{"accuracy": NO_COSINE, **changes})
    assert run(folder / "job", folder / "out") == 0
    return from_json(EngineReport, (folder / "out" / "report.json").read_bytes())


def failure(folder: Path, code: int = EXIT_GATE, **changes: Any) -> BuildFailure:
    make_job(folder / "job", **{"accuracy": NO_COSINE, **changes})
    assert run(folder / "job", folder / "out") == code
    return from_json(BuildFailure, (folder / "out" / "failure.json").read_bytes())


def test_a_classifier_that_agrees_passes_and_reports_both_sides(tmp_path: Path) -> None:
    gate = MetricGate("top1", "classes", 1.0)
    shared = {"model": classifier(), "outputs": CLASSES, "metric": gate}
    report = build(tmp_path / "first", **shared)
    assert report.metric == TaskMetric("top1", "classes", 1.0, None, 3, 1.0)
    with np.load(tmp_path / "first/out/golden.npz") as archive:
        golden = dict(archive)
    report = build(tmp_path / "second", golden=golden, **shared)
    assert report.metric == TaskMetric("top1", "classes", 1.0, 1.0, 3, 1.0)
    golden["classes"] = golden["classes"].copy()
    golden["classes"][1] = golden["classes"][1][::-1]  # the other class is the right one
    found = failure(tmp_path / "third", golden=golden, **shared)
    assert found.kind == "accuracy"
    numbers = "fp32 top1 0.6667 < 1 on output 'classes' over 3 golden frames"
    assert found.message == f"{numbers}, against the golden data's expected outputs"
    assert "right model" in found.hint
    waived = build(tmp_path / "fourth", golden=golden, enforce_accuracy=False, **shared)
    assert waived.notes == (f"accuracy gate waived: {found.message}",)
    assert waived.metric is not None
    assert waived.metric.to_golden == pytest.approx(2 / 3)


def test_masks_of_int8_are_held_against_fp32(tmp_path: Path) -> None:
    report = build(tmp_path, precision="int8", options=INT8, metric=MetricGate("mask_iou", "scores", 0.9))
    assert report.metric is not None
    assert 0.9 <= report.metric.to_fp32 < 1.0


def test_an_int8_engine_that_cosine_lets_through_fails_by_its_metric_and_the_node_is_named(tmp_path: Path) -> None:
    gate = MetricGate("mean_abs_error", "scores", 0.01)
    shared = {"model": dead_channel(3, weight=1e4), "precision": "int8", "metric": gate}
    found = failure(tmp_path / "no", options=INT8, **shared)
    assert found.kind == "accuracy"
    assert found.message.startswith("int8 mean_abs_error 0.")
    assert "> 0.01 on output 'scores' over 3 golden frames, against the fp32 source model" in found.message
    assert found.sensitivity is not None
    assert found.sensitivity.verified
    assert found.sensitivity.keep == ("conv3",)
    options = BuildOptions(int8=Int8Options("minmax", exclude_nodes=found.sensitivity.keep))
    report = build(tmp_path / "yes", options=options, **shared)
    assert report.metric is not None
    assert 0.0 < report.metric.to_fp32 <= 0.01


def test_a_precision_without_a_limit_is_measured_and_not_judged(tmp_path: Path) -> None:
    golden = {"image": frames(3), "scores": np.random.default_rng(1).normal(size=(3, 2, 16, 20)).astype("f4")}
    report = build(tmp_path, golden=golden, metric=MetricGate("mean_abs_error", "scores"))
    assert report.metric is not None
    assert report.metric.to_golden is not None
    assert report.metric.to_golden > 0.1
    assert report.notes == ()


@pytest.mark.parametrize(
    ("metric", "kind"),
    [
        (MetricGate("accuracy", "scores"), "unsupported"),
        (MetricGate("top1", "labels"), "bad-model"),
        (MetricGate("top1", "scores"), "bad-model"),
        (MetricGate("top1", "classes", 0.9), "golden"),
    ],
)
def test_a_builder_refuses_what_it_cannot_measure(tmp_path: Path, metric: MetricGate, kind: str) -> None:
    changes = {"model": classifier(), "outputs": CLASSES} if metric.output == "classes" else {}
    found = failure(tmp_path, EXIT_FAILED, metric=metric, **changes)
    assert found.kind == kind
    assert found.hint


def test_older_documents_ask_for_no_metric(tmp_path: Path) -> None:
    report = build(tmp_path)
    assert report.metric is None
    text = (tmp_path / "out/report.json").read_text()
    assert '"metric":null,' in text
    assert from_json(EngineReport, text.replace('"metric":null,', "")) == report
