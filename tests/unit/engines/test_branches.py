"""If nodes that constants or fixed shapes decide: the branch that is taken stands in their place."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import ModelProto, TensorProto, helper

from runtime.contract.engine.model_front import ConstantSpec
from runtime.engines.errors import EngineError
from runtime.engines.graph.branches import decided
from runtime.engines.graph.front import constant_array, with_constants
from runtime.engines.graph.nodes import all_nodes
from runtime.engines.graph.normalize import infer, name_nodes

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def branch(name: str, factor: float, inner: Any = None) -> Any:
    """``x * factor``, and with ``inner`` nodes what those make of it. Both branches call their tensors alike."""
    nodes = [
        helper.make_node(
            "Constant", [], ["factor"], value=helper.make_tensor("", FLOAT, [], [factor]), name="constant"
        ),
        helper.make_node("Mul", ["x", "factor"], ["scaled" if inner else "out"], name="scale"),
        *(inner or []),
    ]
    return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info("out", FLOAT, None)])


def rate_model(columns: int | None = 3) -> ModelProto:
    """16000: ``x * 2``, then +1 where x has three columns; otherwise ``x * 10``."""
    plus = helper.make_graph(
        [helper.make_node("Add", ["scaled", "one"], ["added"], name="add")],
        "plus", [], [helper.make_tensor_value_info("added", FLOAT, None)],
        [helper.make_tensor("one", FLOAT, [], [1.0])],
    )  # fmt: skip
    same = helper.make_graph(
        [helper.make_node("Identity", ["scaled"], ["kept"], name="keep")],
        "same", [], [helper.make_tensor_value_info("kept", FLOAT, None)],
    )  # fmt: skip
    inner = [
        helper.make_node("Shape", ["scaled"], ["sizes"], name="sizes"),
        helper.make_node("Gather", ["sizes", "last"], ["width"], name="width"),
        helper.make_node("Equal", ["width", "three"], ["wide"], name="wide"),
        helper.make_node("If", ["wide"], ["out"], then_branch=plus, else_branch=same, name="by_shape"),
    ]
    nodes = [
        helper.make_node("Equal", ["sr", "rate"], ["fast"], name="fast"),
        helper.make_node(
            "If",
            ["fast"],
            ["y"],
            then_branch=branch("fast", 2.0, inner),
            else_branch=branch("slow", 10.0),
            name="by_rate",
        ),
    ]
    graph = helper.make_graph(
        nodes, "rates",
        [helper.make_tensor_value_info("x", FLOAT, [1, columns]), helper.make_tensor_value_info("sr", INT64, [])],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        [
            helper.make_tensor("rate", INT64, [], [16000]),
            helper.make_tensor("last", INT64, [], [1]),
            helper.make_tensor("three", INT64, [], [3]),
        ],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    name_nodes(model.graph)
    return model


def at_rate(model: ModelProto, rate: float) -> ModelProto:
    return decided(infer(with_constants(model, [ConstantSpec("sr", (rate,), ())])))


@pytest.mark.parametrize(("rate", "columns", "answer"), [(16000, 3, 5.0), (8000, 3, 20.0), (16000, 4, 4.0)])
def test_the_branch_that_is_taken_stands_in_its_place(rate: float, columns: int, answer: float) -> None:
    found = at_rate(rate_model(columns), rate)
    assert not [node for node in all_nodes(found.graph) if node.op_type == "If"]
    session = ort.InferenceSession(found.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.full((1, columns), 2, np.float32)
    assert session.run(None, {"x": x})[0].tolist() == [[answer] * columns]


def test_what_is_not_known_stays() -> None:
    open_shape = at_rate(rate_model(None), 16000)
    assert [node.op_type for node in open_shape.graph.node].count("If") == 1
    untouched = rate_model()
    assert decided(infer(untouched)).graph.node[1].op_type == "If"


@pytest.mark.parametrize(
    ("values", "dtype", "shape", "says"),
    [
        ((1.5,), "int64", (), "which int64 cannot hold"),
        ((2.0,), "bool", (), "which bool cannot hold"),
        ((300.0,), "uint8", (), "which uint8 cannot hold"),
        ((1e5,), "float16", (), "which float16 cannot hold"),
        ((1.0, 2.0), "float32", (3,), "has 2 values, and [3] takes 3"),
    ],
)
def test_a_constant_that_its_tensor_cannot_hold_is_refused(values: Any, dtype: str, shape: Any, says: str) -> None:
    with pytest.raises(EngineError) as caught:
        constant_array(ConstantSpec("c", values, shape), np.dtype(dtype))
    assert says in caught.value.message


def test_one_value_fills_a_constant() -> None:
    assert constant_array(ConstantSpec("c", (3.0,), (2, 2)), np.dtype("int32")).tolist() == [[3, 3], [3, 3]]
    assert constant_array(ConstantSpec("c", (1.0,), ()), np.dtype("bool")).tolist() is True
