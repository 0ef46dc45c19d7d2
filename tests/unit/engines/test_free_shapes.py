"""Outputs with as many rows as are found, inputs without a batch of one, and models that ONNX Runtime cannot run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

from runtime.contract.codec import from_json
from runtime.contract.engine.accuracy_gate import broken, matched_limit
from runtime.contract.engine.build import (
    FAILURE_FILE,
    REPORT_FILE,
    AccuracyGate,
    BuildFailure,
    EngineReport,
    TensorSpec,
)
from runtime.engines.build.job import EXIT_BUILT, EXIT_FAILED, run
from runtime.engines.build.measure import fp32_answers
from runtime.engines.errors import ForeignOperatorError
from runtime.engines.golden.golden_data import Golden, load_golden, save_golden, stack
from runtime.engines.golden.matched_rows import compare_rows
from runtime.engines.golden.selftest import self_test
from runtime.engines.onnxruntime_ import BACKEND
from tests.unit.engines.models import initializer, make_job, model_of

X = TensorSpec("x", (1, 12))
INFO = helper.make_tensor_value_info


def suppressing() -> ModelProto:
    """Boxes of a constant grid whose scores are the input: as many rows as are over 0.5."""
    grid = np.arange(12, dtype="f4")[:, None] * np.array([[3, 0, 3, 0]], "f4") + np.array([[0, 0, 2, 2]], "f4")
    nodes = [
        helper.make_node("Unsqueeze", ["x", "one"], ["scores"], "scores"),
        helper.make_node("NonMaxSuppression", ["grid", "scores", "most", "iou", "over"], ["found"], "nms"),
        helper.make_node("Gather", ["found", "two"], ["row"], "row", axis=1),
        helper.make_node("Gather", ["boxes", "row"], ["y"], "boxes", axis=0),
    ]
    weights = {
        "grid": grid[None], "boxes": grid, "one": np.array([1], np.int64), "most": np.array([12], np.int64),
        "iou": np.array([0.5], "f4"), "over": np.array([0.5], "f4"), "two": np.array(2, np.int64),
    }  # fmt: skip
    outputs = [INFO("y", TensorProto.FLOAT, ["n", 4]), INFO("found", TensorProto.INT64, ["n", 3])]
    arrays = [initializer(name, array) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "detector", [INFO("x", TensorProto.FLOAT, [1, 12])], outputs, arrays)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def frames() -> np.ndarray:
    found = np.zeros((5, 12), "f4")
    for index in range(5):
        found[index, : index * 2] = 0.9  # none, 2, 4, 6, 8
    return found


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_another_count_of_boxes_fails_neither_frame_nor_build(precision: str, tmp_path: Path) -> None:
    outputs = (TensorSpec("y", ()), TensorSpec("found", ()))
    make_job(
        tmp_path / "job", model=suppressing(), golden={"x": frames()}, inputs=(X,), outputs=outputs, precision=precision
    )
    out = tmp_path / "out"
    assert run(tmp_path / "job", out) == EXIT_BUILT
    report = from_json(EngineReport, (out / REPORT_FILE).read_bytes())
    assert [item.matched_share for item in report.accuracy] == [1.0, 1.0]
    assert report.identity.outputs[0].shape == (-1, 4)
    runner = BACKEND.load(out)
    counts = []
    for frame in frames():
        runner.inputs["x"][...] = frame
        counts.append(runner.infer()["y"].shape)
    assert counts == [(0, 4), (2, 4), (4, 4), (6, 4), (8, 4)]
    tested = self_test(runner, report.identity, out / "golden.npz")
    assert tested.passed, tested.message


def test_rows_are_looked_for_wherever_they_are() -> None:
    rows = np.array([[[1, 2], [30, 40], [5, 6]]], "f4")
    assert compare_rows("y", [rows[:, ::-1]], [rows], 1).matched_share == 1.0
    one_less = compare_rows("y", [rows[:, :2] + 0.01], [rows], 1)
    assert one_less.matched_share == pytest.approx(0.8)
    assert one_less.max_abs_error == pytest.approx(0.01, abs=1e-5)
    assert compare_rows("y", [rows * 2], [rows], 1).matched_share == 0.0
    ids = np.array([[0, 0, 7]], np.int64)
    assert compare_rows("y", [ids + 1], [ids], 0).matched_share == 0.0
    assert compare_rows("y", [ids[:0]], [ids[:0]], 0).matched_share == 1.0


def test_the_gate_says_how_many_rows_may_be_missing() -> None:
    gate = AccuracyGate(0.99)
    assert 0.85 < matched_limit(gate) < 0.95
    good, bad = (compare_rows("y", [np.eye(40)[:n]], [np.eye(40)], 0) for n in (36, 20))
    assert broken(good, gate) == []
    assert broken(bad, gate)[0].startswith("share of rows that both have 0.667 < ")


def test_golden_data_holds_an_array_a_frame(tmp_path: Path) -> None:
    outputs = [{"y": np.ones((count, 4), "f4")} for count in (3, 1, 0)]
    path = tmp_path / "golden.npz"
    save_golden(path, Golden({"x": frames()[:3]}, stack(outputs, {"y"})))
    again = load_golden(path, [X], ["y"])
    assert [sample["y"].shape for sample in again.expected_samples()] == [(3, 4), (1, 4), (0, 4)]


@pytest.mark.parametrize("shape", [(2, 1, 8), (), (3,)])
def test_a_state_needs_no_batch_of_one(shape: tuple[int, ...], tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Mul", ["h", "half"], ["hn"], "next"),
        helper.make_node("ReduceSum", ["hn"], ["sum"], "sum", keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"], "add"),
    ]
    model = model_of(nodes, {"x": [1, 12], "h": list(shape)}, ["y", "hn"], {"half": np.array(0.5, "f4")})
    values = np.random.default_rng(0).uniform(0.1, 1, (4, *shape)).astype("f4")
    specs = (X, TensorSpec("h", shape))
    make_job(
        tmp_path / "job", model=model, golden={"x": frames()[:4], "h": values}, inputs=specs,
        outputs=(TensorSpec("y", ()), TensorSpec("hn", ())),
    )  # fmt: skip
    assert run(tmp_path / "job", tmp_path / "out") == EXIT_BUILT
    report = from_json(EngineReport, (tmp_path / "out" / REPORT_FILE).read_bytes())
    assert [spec.shape for spec in report.identity.inputs] == [(1, 12), shape]
    tested = self_test(BACKEND.load(tmp_path / "out"), report.identity, tmp_path / "out" / "golden.npz")
    assert tested.passed, tested.message


def plugin(domain: str) -> ModelProto:
    node = helper.make_node("EfficientNMS_TRT", ["x"], ["y"], "nms", domain=domain)
    graph = helper.make_graph(
        [node], "g", [INFO("x", TensorProto.FLOAT, [1, 12])], [INFO("y", TensorProto.FLOAT, [1, 4])]
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("TRT", 1)], ir_version=8
    )


@pytest.mark.parametrize("domain", ["TRT", ""])
def test_a_plugin_of_tensorrt_is_named_where_onnx_runtime_must_run_it(domain: str, tmp_path: Path) -> None:
    make_job(
        tmp_path / "job", model=plugin(domain), golden={"x": frames()}, inputs=(X,), outputs=(TensorSpec("y", ()),)
    )
    assert run(tmp_path / "job", tmp_path / "out") == EXIT_FAILED
    said = from_json(BuildFailure, (tmp_path / "out" / FAILURE_FILE).read_bytes())
    assert said.message == "ONNX Runtime has no operator TRT:EfficientNMS_TRT"
    assert "tensorrt profile" in said.hint


def test_what_onnx_runtime_cannot_run_has_no_reference_but_the_golden_data(tmp_path: Path) -> None:
    job = make_job(
        tmp_path / "job", model=plugin("TRT"), golden={"x": frames()}, inputs=(X,), outputs=(TensorSpec("y", ()),)
    )
    with pytest.raises(ForeignOperatorError):
        fp32_answers(tmp_path / "job" / "model.onnx", job, (X,), Golden({"x": frames()}, {}))


def test_an_output_that_is_an_input_is_refused(tmp_path: Path) -> None:
    model = model_of([helper.make_node("Relu", ["x"], ["y"], "relu")], {"x": [1, 12]}, ["y"], {})
    model.graph.output.append(INFO("x", TensorProto.FLOAT, [1, 12]))
    outputs = (TensorSpec("y", ()), TensorSpec("x", ()))
    make_job(tmp_path / "job", model=model, golden={"x": frames()}, inputs=(X,), outputs=outputs)
    assert run(tmp_path / "job", tmp_path / "out") == EXIT_FAILED
    said = from_json(BuildFailure, (tmp_path / "out" / FAILURE_FILE).read_bytes())
    assert "output 'x' is the input of that name" in said.message


def test_a_size_that_fits_the_strides_is_named(tmp_path: Path) -> None:
    """Up and down by four: what comes back has another size unless sides are multiples of four."""
    half = {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes = [
        helper.make_node("MaxPool", ["image"], ["a"], "down", **half),
        helper.make_node("MaxPool", ["a"], ["b"], "further", **half),
        helper.make_node("Resize", ["b", "", "scales"], ["c"], "up"),
        helper.make_node("Add", ["image", "c"], ["y"], "join"),
    ]
    scales = {"scales": np.array([1, 1, 4, 4], "f4")}
    model = model_of(nodes, {"image": [1, 3, "H", "W"]}, ["y"], scales)
    spec = TensorSpec("image", (1, 3, 18, 31))
    make_job(
        tmp_path / "job", model=model, golden={"image": np.ones((1, 3, 18, 31), "f4")}, inputs=(spec,),
        outputs=(TensorSpec("y", ()),),
    )  # fmt: skip
    assert run(tmp_path / "job", tmp_path / "out") == EXIT_FAILED
    said = from_json(BuildFailure, (tmp_path / "out" / FAILURE_FILE).read_bytes())
    assert "input 'image' of [1, 3, 18, 31] does not fit the network's strides" in said.message
    assert said.hint == "rows and columns that fit are near: shape [1, 3, 20, 32]"


def test_an_output_without_a_shape_is_inferred(tmp_path: Path) -> None:
    model = model_of([helper.make_node("Sigmoid", ["x"], ["y"], "sigmoid")], {"x": [1, 12]}, ["y"], {})
    model.graph.output[0].type.tensor_type.ClearField("shape")
    make_job(tmp_path / "job", model=model, golden={"x": frames()}, inputs=(X,), outputs=(TensorSpec("y", ()),))
    assert run(tmp_path / "job", tmp_path / "out") == EXIT_BUILT
    report = from_json(EngineReport, (tmp_path / "out" / REPORT_FILE).read_bytes())
    assert report.identity.outputs[0].shape == (1, 12)


def test_an_output_that_is_no_array_is_in_nobodys_way_unless_it_is_declared(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Sigmoid", ["x"], ["y"], "sigmoid"),
        helper.make_node("Cast", ["x"], ["text"], "text", to=TensorProto.STRING),
    ]
    model = model_of(nodes, {"x": [1, 12]}, ["y"], {})
    model.graph.output.append(INFO("text", TensorProto.STRING, [1, 12]))
    for declared, ends in ((["y"], EXIT_BUILT), (["y", "text"], EXIT_FAILED)):
        job, outputs = tmp_path / "-".join(declared), tuple(TensorSpec(name, ()) for name in declared)
        make_job(job, model=model, golden={"x": frames()}, inputs=(X,), outputs=outputs)
        assert run(job, tmp_path / "out") == ends
