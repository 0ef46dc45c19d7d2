"""If and Loop: at fp32, and at fp16, where what their graphs read from outside stays float."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

from runtime.contract.codec import from_json
from runtime.contract.engine.build import FAILURE_FILE, REPORT_FILE, BuildFailure, EngineReport, TensorSpec
from runtime.engines.build.job import EXIT_BUILT, EXIT_FAILED, EXIT_GATE, run
from tests.unit.engines.models import initializer, make_job, model_of

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
info = helper.make_tensor_value_info
W = np.random.default_rng(2).normal(0, 0.3, (8, 8)).astype("f4")


def branching() -> ModelProto:
    """The branches read a tensor of the outer graph, and a weight that half-precision nodes read too."""
    then = helper.make_graph(
        [helper.make_node("Mul", ["h", "two"], ["a"], "twice")],
        "then",
        [],
        [info("a", FLOAT, [1, 8])],
        [initializer("two", np.array([2], "f4"))],
    )
    other = helper.make_graph(
        [helper.make_node("MatMul", ["h", "w"], ["b"], "inner")], "else", [], [info("b", FLOAT, [1, 8])]
    )
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], "first"),
        helper.make_node("ReduceSum", ["x"], ["sum"], "sum", keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["positive"], "which"),
        helper.make_node("If", ["positive"], ["c"], "if", then_branch=then, else_branch=other),
        helper.make_node("MatMul", ["c", "w"], ["y"], "last"),
    ]
    return model_of(nodes, {"x": [1, 8]}, ["y"], {"w": W, "zero": np.array(0, "f4")})


def looping() -> ModelProto:
    """A loop whose state has no shape that ONNX Runtime knows."""
    nodes = [
        helper.make_node("MatMul", ["v", "w"], ["m"], "inner"),
        helper.make_node("Add", ["m", "h"], ["n"], "add"),
        helper.make_node("Identity", ["c"], ["d"], "go"),
    ]
    body = helper.make_graph(
        nodes,
        "body",
        [info("i", INT64, []), info("c", BOOL, []), info("v", FLOAT, [1, 8])],
        [info("d", BOOL, []), info("n", FLOAT, [1, 8])],
    )
    outer = [
        helper.make_node("MatMul", ["x", "w"], ["h"], "first"),
        helper.make_node("Loop", ["trips", "true", "h"], ["z"], "loop", body=body),
        helper.make_node("MatMul", ["z", "w"], ["y"], "last"),
    ]
    model = model_of(outer, {"x": [1, 8]}, ["y"], {"w": W, "trips": np.array(3, np.int64), "true": np.array(True)})
    model.graph.output[0].CopyFrom(info("y", FLOAT, [1, 8]))
    return model


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("model", [branching, looping])
def test_both_precisions_are_built_and_right(model: object, precision: str, tmp_path: Path) -> None:
    frames = np.random.default_rng(1).uniform(-1, 1, (4, 8)).astype("f4")
    frames[0], frames[1] = np.abs(frames[0]), -np.abs(frames[1])  # both branches
    assert callable(model)
    make_job(
        tmp_path / "job", model=model(), golden={"x": frames}, precision=precision,
        inputs=(TensorSpec("x", (1, 8)),), outputs=(TensorSpec("y", ()),),
    )  # fmt: skip
    assert run(tmp_path / "job", tmp_path / "out") == EXIT_BUILT
    report = from_json(EngineReport, (tmp_path / "out" / REPORT_FILE).read_bytes())
    assert report.accuracy[0].relative_error is not None
    assert report.accuracy[0].relative_error < (1e-6 if precision == "fp32" else 2e-3)
    assert report.identity.outputs[0].shape in ((1, 8), (-1, -1))


@pytest.mark.parametrize(("element", "said"), [(TensorProto.BFLOAT16, "bfloat16"), (TensorProto.STRING, "string")])
@pytest.mark.parametrize("where", ["input", "output"])
def test_arrays_that_no_robot_has_are_refused_in_a_sentence(
    element: int, said: str, where: str, tmp_path: Path
) -> None:
    model = model_of([helper.make_node("Cast", ["x"], ["y"], "cast", to=element)], {"x": [1, 4]}, ["y"], {})
    model.graph.output[0].CopyFrom(info("y", element, [1, 4]))
    if where == "input":
        model = model_of([helper.make_node("Cast", ["x"], ["y"], "cast", to=FLOAT)], {"x": [1, 4]}, ["y"], {})
        model.graph.input[0].type.tensor_type.elem_type = element
    make_job(
        tmp_path / "job", model=model, golden={"x": np.ones((2, 4), "f4")},
        inputs=(TensorSpec("x", (1, 4)),), outputs=(TensorSpec("y", ()),),
    )  # fmt: skip
    assert run(tmp_path / "job", tmp_path / "out") == EXIT_FAILED
    failure = from_json(BuildFailure, (tmp_path / "out" / FAILURE_FILE).read_bytes())
    assert failure.kind == "unsupported"
    name = {"input": "x", "output": "y"}[where]
    assert f"{where} {name!r} is of type {said}" in failure.message
    assert "float32" in failure.hint


def test_an_fp16_engine_with_nothing_in_half_precision_is_none(tmp_path: Path) -> None:
    """All of the work is in the branches, which stay fp32."""
    then, other = (
        helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], [name], f"inner_{name}")], name, [], [info(name, FLOAT, [1, 8])]
        )
        for name in ("a", "b")
    )
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], "sum", keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["positive"], "which"),
        helper.make_node("If", ["positive"], ["y"], "if", then_branch=then, else_branch=other),
    ]
    model = model_of(nodes, {"x": [1, 8]}, ["y"], {"w": W, "zero": np.array(0, "f4")})
    make_job(
        tmp_path / "job", model=model, golden={"x": np.ones((2, 8), "f4")}, precision="fp16",
        inputs=(TensorSpec("x", (1, 8)),), outputs=(TensorSpec("y", ()),),
    )  # fmt: skip
    assert run(tmp_path / "job", tmp_path / "out") == EXIT_GATE
    failure = from_json(BuildFailure, (tmp_path / "out" / FAILURE_FILE).read_bytes())
    assert "none of its 2 convolutions, matrix products and recurrent layers is in half precision" in failure.message
