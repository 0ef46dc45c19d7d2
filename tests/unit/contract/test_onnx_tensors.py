"""Weights in another file are found wherever in a model they hide, and such a model is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from onnx import (
    GraphProto,
    ModelProto,
    NodeProto,
    SparseTensorProto,
    TensorProto,
    TrainingInfoProto,
    helper,
)

from fleet.manifest.files.onnx_graph import NotOnnx, read_graph
from runtime.contract.engine.onnx_tensors import external_files, external_tensors, why_not_beside
from runtime.engines.errors import EngineError
from runtime.engines.graph.normalize import load_source

X = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])
Y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])
PLAIN = helper.make_node("Identity", ["x"], ["y"])


def hidden(name: str = "w") -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../secret.bin")
    return tensor


def sparse() -> SparseTensorProto:
    indices = helper.make_tensor("i", TensorProto.INT64, [4], [0, 1, 2, 3])
    return SparseTensorProto(values=hidden(), indices=indices, dims=[4])


def graph(*nodes: NodeProto, **parts: object) -> GraphProto:
    return helper.make_graph([*nodes, PLAIN], "g", [X], [Y], **parts)


def model(made: GraphProto, **parts: object) -> ModelProto:
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, **parts)


def branch(*nodes: NodeProto, **parts: object) -> GraphProto:
    out = helper.make_tensor_value_info("b", TensorProto.FLOAT, [4])
    return helper.make_graph([*nodes, helper.make_node("Identity", ["x"], ["b"])], "branch", [], [out], **parts)


def constant() -> NodeProto:
    return helper.make_node("Constant", [], ["k"], value=hidden())


def conditional(inside: GraphProto) -> NodeProto:
    return helper.make_node("If", ["c"], ["o"], then_branch=branch(), else_branch=inside)


def function() -> ModelProto:
    body = [helper.make_node("Constant", [], ["out"], value=hidden())]
    made = helper.make_function("own", "F", [], ["out"], body, [helper.make_opsetid("", 17)])
    return model(graph(helper.make_node("F", [], ["f"], domain="own")), functions=[made])


def training() -> ModelProto:
    made = model(graph())
    made.training_info.append(TrainingInfoProto(algorithm=graph(initializer=[hidden()])))
    return made


def without_a_location() -> ModelProto:
    tensor = hidden()
    tensor.data_location = TensorProto.DEFAULT
    return model(graph(initializer=[tensor]))


PLACES: dict[str, Callable[[], ModelProto]] = {
    "an initializer": lambda: model(graph(initializer=[hidden()])),
    "a sparse initializer": lambda: model(graph(sparse_initializer=[sparse()])),
    "a constant": lambda: model(graph(constant())),
    "a sparse constant": lambda: model(graph(helper.make_node("Constant", [], ["k"], sparse_value=sparse()))),
    "a list of tensors": lambda: model(graph(helper.make_node("Own", [], ["k"], domain="own", all=[hidden()]))),
    "a branch": lambda: model(graph(conditional(branch(initializer=[hidden()])))),
    "a branch of a branch": lambda: model(graph(conditional(branch(conditional(branch(initializer=[hidden()])))))),
    "a constant of a loop": lambda: model(graph(helper.make_node("Loop", ["n"], ["l"], body=branch(constant())))),
    "a function": function,
    "training information": training,
    "a location that says it is here": without_a_location,
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_weights_in_another_file_are_found_wherever_they_are(place: str, tmp_path: Path) -> None:
    made = PLACES[place]()
    assert list(external_tensors(made)) == ["w"]
    path = tmp_path / f"{place}.onnx"
    path.write_bytes(made.SerializeToString())
    if why_not_beside(next(iter(external_files(made)))):
        with pytest.raises(NotOnnx, match="keeps tensor 'w' in"):
            read_graph(path, place)
    else:
        assert read_graph(path, place).files == tuple(external_files(made))
    with pytest.raises(EngineError):
        load_source(path)


def test_a_model_in_one_file_has_none(tmp_path: Path) -> None:
    here = helper.make_tensor("w", TensorProto.FLOAT, [4], [1.0] * 4)
    made = model(graph(conditional(branch(initializer=[here])), initializer=[here]))
    assert list(external_tensors(made)) == []
    path = tmp_path / "m.onnx"
    path.write_bytes(made.SerializeToString())
    assert set(read_graph(path, "whole").inputs) == {"x"}
