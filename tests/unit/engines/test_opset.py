"""Operator sets as exporters of today write them: brought down for a parser that reads less, answers unchanged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import ModelProto, TensorProto, helper

from runtime.engines.errors import EngineError
from runtime.engines.graph.normalize import load_model, opset_of
from tests.unit.engines.models import model_of

SHAPE = (1, 6, 10, 10)
X = np.random.default_rng(3).uniform(-1, 1, SHAPE).astype("f4")
SQUARES = {"axes": np.array([2, 3], np.int64)}


def node(operator: str, inputs: list[str], outputs: list[str] | None = None, **attributes: Any) -> Any:
    return helper.make_node(operator, inputs, outputs or ["y"], f"the/{operator}", **attributes)


def run(model: ModelProto, **feeds: np.ndarray) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


def saved(folder: Path, model: ModelProto) -> Path:
    path = folder / "model.onnx"
    onnx.save(model, str(path))
    return path


CHANGED: dict[str, tuple[int, list[Any], list[str], dict[str, np.ndarray]]] = {
    "split evenly": (18, [node("Split", ["x"], ["y", "z"], axis=1, num_outputs=2)], ["y", "z"], {}),
    "split with a rest": (
        18,
        [node("Split", ["x"], ["y", "z", "u", "v"], axis=2, num_outputs=4)],
        ["y", "z", "u", "v"],
        {},
    ),
    "split by sizes": (
        21,
        [node("Split", ["x", "s"], ["y", "z"], axis=1)],
        ["y", "z"],
        {"s": np.array([2, 4], np.int64)},
    ),
    "pad all": (18, [node("Pad", ["x", "p"])], ["y"], {"p": np.array([0, 0, 1, 2, 0, 0, 3, 4], np.int64)}),
    "pad some axes": (
        21,
        [node("Pad", ["x", "p", "c", "a"])],
        ["y"],
        {"p": np.array([1, 2, 3, 4], np.int64), "c": np.array(7, "f4"), "a": np.array([3, -2], np.int64)},
    ),
    "mean over axes": (18, [node("ReduceMean", ["x", "axes"], keepdims=0)], ["y"], SQUARES),
    "maximum of all": (20, [node("ReduceMax", ["x"], keepdims=0)], ["y"], {}),
    "norm": (22, [node("ReduceL2", ["x", "axes"])], ["y"], SQUARES),
    "resize two axes": (
        18,
        [node("Resize", ["x", "", "", "s"], mode="linear", axes=[2, 3])],
        ["y"],
        {"s": np.array([7, 5], np.int64)},
    ),
    "resize by scales": (
        19,
        [node("Resize", ["x", "", "s"], mode="nearest", axes=[3])],
        ["y"],
        {"s": np.array([2], "f4")},
    ),
    "smooth and larger": (
        18,
        [node("Resize", ["x", "", "s"], mode="linear", antialias=1)],
        ["y"],
        {"s": np.array([1, 1, 2, 2], "f4")},
    ),
    "sampled": (
        20,
        [node("GridSample", ["x", "g"], mode="linear")],
        ["y"],
        {"g": np.random.default_rng(1).uniform(-1, 1, (1, 4, 4, 2)).astype("f4")},
    ),
    "Gelu": (20, [node("Gelu", ["x"])], ["y"], {}),
    "Mish": (18, [node("Mish", ["x"])], ["y"], {}),
    "Swish": (24, [node("Swish", ["x"], alpha=0.5)], ["y"], {}),
    "group norm": (
        21,
        [node("GroupNormalization", ["x", "s", "b"], num_groups=3)],
        ["y"],
        {"s": np.arange(6, dtype="f4"), "b": np.ones(6, "f4")},
    ),
    "pooled": (19, [node("AveragePool", ["x"], kernel_shape=[3, 3], dilations=[1, 1])], ["y"], {}),
    "types only": (22, [node("Cast", ["x"], to=int(TensorProto.FLOAT))], ["y"], {}),
}


@pytest.mark.parametrize("name", CHANGED)
def test_what_changed_since_17_is_rewritten_and_answers_the_same(name: str, tmp_path: Path) -> None:
    opset, nodes, outputs, weights = CHANGED[name]
    model = model_of(nodes, {"x": list(SHAPE)}, outputs, weights, opset=opset)
    model.ir_version = 10
    if name == "group norm":  # onnx infers no shape of it
        model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, SHAPE))
    path = saved(tmp_path, model)
    low = load_model(path, 17)
    assert opset_of(low) == 17
    assert opset_of(load_model(path)) == opset  # nothing is changed for a backend that reads it
    for new, old in zip(run(low, x=X), run(model, x=X), strict=True):
        np.testing.assert_allclose(new, old, atol=2e-6)
    if all(each.op_type == low.graph.node[0].op_type for each in nodes):
        assert low.graph.node[0].name == nodes[0].name


@pytest.mark.parametrize(
    ("operator", "said"),
    [
        (node("BitwiseNot", ["x"]), "operator BitwiseNot"),
        (node("Resize", ["x", "", "s"], mode="linear", antialias=1), "Resize 'the/Resize' has antialias=1"),
        (node("AveragePool", ["x"], kernel_shape=[2, 2], dilations=[2, 2]), "dilations=[2, 2]"),
        (node("Pad", ["x", "p"], mode="wrap"), "mode wrap"),
        (node("ReduceMean", ["x"], noop_with_empty_axes=1), "reduces nothing"),
    ],
)
def test_what_has_no_older_form_is_refused_by_name_with_the_cure(operator: Any, said: str, tmp_path: Path) -> None:
    weights = {"s": np.array([1, 1, 0.5, 0.5], "f4"), "p": np.zeros(8, np.int64)}
    used = {name: array for name, array in weights.items() if name in operator.input}
    model = model_of([operator], {"x": list(SHAPE)}, ["y"], used, opset=19)
    if operator.op_type == "BitwiseNot":
        model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT32
        model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT32
    with pytest.raises(EngineError, match="uses opset 19 and cannot be brought to 17") as caught:
        load_model(saved(tmp_path, model), 17)
    assert caught.value.kind == "unsupported"
    assert said in caught.value.message
    assert "opset_version=17, dynamo=False" in caught.value.hint


@pytest.mark.parametrize("opset", [17, 18])
def test_local_functions_are_replaced_by_what_they_do(opset: int, tmp_path: Path) -> None:
    body = [helper.make_node("Relu", ["a"], ["r"]), helper.make_node("Mul", ["r", "r"], ["b"])]
    function = helper.make_function("my.modules", "hard", ["a"], ["b"], body, [helper.make_opsetid("", opset)])
    call = helper.make_node("hard", ["x"], ["y"], "block", domain="my.modules")
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in ("x", "y")]
    graph = helper.make_graph([call], "modular", tensors[:1], tensors[1:])
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("my.modules", 1)]
    model = helper.make_model(graph, functions=[function], opset_imports=domains, ir_version=9)
    loaded = load_model(saved(tmp_path, model))
    assert not loaded.functions
    assert {each.op_type for each in loaded.graph.node} == {"Relu", "Mul"}
    np.testing.assert_array_equal(run(loaded, x=X)[0], np.square(np.maximum(X, 0)))
