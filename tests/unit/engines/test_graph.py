from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import ModelProto, TensorProto, helper

from runtime.contract.engine.build import TensorSpec
from runtime.engines.errors import EngineError
from runtime.engines.graph.normalize import (
    at_supported_opset,
    fold,
    freeze,
    load_model,
    name_nodes,
    opset_of,
    serialize,
)
from tests.unit.engines.models import IMAGE, SCORES, TENSOR, conv_net, model_of

X = np.linspace(-1, 1, 3 * TENSOR[0] * TENSOR[1], dtype=np.float32).reshape(1, 3, *TENSOR)


def run(model: ModelProto, **feeds: np.ndarray) -> list[np.ndarray]:
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feeds)


def saved(tmp_path: Path, model: ModelProto) -> Path:
    path = tmp_path / "model.onnx"
    onnx.save(model, str(path))
    return path


def test_dynamic_dimensions_are_fixed_and_unused_outputs_dropped() -> None:
    frozen = freeze(conv_net(), [IMAGE], [SCORES])
    assert [d.dim_value for d in frozen.graph.input[0].type.tensor_type.shape.dim] == [1, 3, *TENSOR]
    assert [value.name for value in frozen.graph.output] == ["scores"]
    assert [d.dim_value for d in frozen.graph.output[0].type.tensor_type.shape.dim] == [1, 2, *TENSOR]
    np.testing.assert_array_equal(run(frozen, image=X)[0], run(conv_net(), image=X)[0])


def old_model(opset: int) -> ModelProto:
    """Operators whose form changed in opset 13: axes were attributes."""
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], axes=[2], keepdims=0),
        helper.make_node("Unsqueeze", ["sum"], ["wide"], axes=[0]),
        helper.make_node("Squeeze", ["wide"], ["thin"], axes=[0]),
        helper.make_node("Softmax", ["thin"], ["y"], axis=1),
    ]
    return model_of(nodes, {"x": ["N", 4, 5]}, ["y"], {}, opset=opset)


@pytest.mark.parametrize("opset", [11, 12])
def test_older_opsets_are_converted_up_and_mean_the_same(opset: int, tmp_path: Path) -> None:
    x = np.random.default_rng(3).normal(size=(1, 4, 5)).astype("f4")
    loaded = load_model(saved(tmp_path, old_model(opset)))
    assert opset_of(loaded) == 13
    frozen = freeze(loaded, [TensorSpec("x", (1, 4, 5))], [TensorSpec("y", ())])
    np.testing.assert_allclose(run(frozen, x=x)[0], run(old_model(opset), x=x)[0], atol=1e-6)


@pytest.mark.parametrize("opset", [13, 15, 17])
def test_opsets_in_range_stay(opset: int, tmp_path: Path) -> None:
    assert opset_of(load_model(saved(tmp_path, conv_net(opset=opset)))) == opset


def test_an_opset_too_old_is_refused() -> None:
    model = conv_net()
    model.opset_import[0].version = 9
    with pytest.raises(EngineError, match="opset 9, older than 11"):
        at_supported_opset(model)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x07" + b"\xff" * 40])
def test_what_is_no_onnx_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(EngineError, match=r"model\.onnx is not a valid ONNX model") as caught:
        load_model(path)
    assert caught.value.kind == "bad-model"


@pytest.mark.parametrize(
    ("inputs", "outputs", "said"),
    [
        ([TensorSpec("picture", IMAGE.shape)], [SCORES], "no input 'picture'; its inputs are: image"),
        ([], [SCORES], "the input 'image', which the manifest does not name"),
        ([IMAGE], [TensorSpec("boxes", ())], "no output 'boxes'; its outputs are: scores, hidden"),
        ([TensorSpec("image", (1, 4, 16, 16))], [SCORES], "is ?x3x?x? in the model, but 1x4x16x16 in the manifest"),
        ([TensorSpec("image", (3, 16, 16))], [SCORES], "but 3x16x16 in the manifest"),
    ],
)
def test_declared_tensors_must_exist_and_fit(inputs: list, outputs: list, said: str) -> None:
    with pytest.raises(EngineError) as caught:
        freeze(conv_net(), inputs, outputs)
    assert caught.value.kind == "bad-model"
    assert said in caught.value.message


def test_nameless_nodes_get_names_that_stay() -> None:
    first, second = conv_net(), conv_net()
    name_nodes(first.graph)
    name_nodes(second.graph)
    names = [node.name for node in first.graph.node]
    assert names == [node.name for node in second.graph.node]
    assert len(set(names)) == len(names)
    assert "conv0" in names
    assert "Relu_1" in names


def test_folding_fuses_a_batch_norm_and_keeps_the_answer() -> None:
    rng = np.random.default_rng(5)
    weights = {"w": rng.normal(size=(4, 3, 3, 3)).astype("f4")}
    weights |= {name: rng.uniform(0.5, 1.5, 4).astype("f4") for name in ("gamma", "beta", "mean", "var")}
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["c"], pads=[1] * 4),
        helper.make_node("BatchNormalization", ["c", "gamma", "beta", "mean", "var"], ["scores"]),
    ]
    frozen = freeze(model_of(nodes, {"image": [1, 3, *TENSOR]}, ["scores"], weights), [IMAGE], [SCORES])
    folded = fold(frozen)
    assert [node.op_type for node in folded.graph.node] == ["Conv"]
    assert {entry.domain for entry in folded.opset_import} == {""}
    np.testing.assert_allclose(run(folded, image=X)[0], run(frozen, image=X)[0], atol=1e-4)


def test_serialized_models_carry_nothing_that_varies() -> None:
    plain, talkative = conv_net(), conv_net()
    talkative.producer_version = "today"
    talkative.doc_string = "made on somebody's machine"
    talkative.graph.node[0].doc_string = "File /home/somebody/train.py"
    entry = talkative.metadata_props.add()
    entry.key, entry.value = "time", "now"
    assert serialize(plain) == serialize(talkative)
    onnx.checker.check_model(onnx.load_from_string(serialize(plain)))


def test_a_renamed_input_reaches_subgraphs() -> None:
    from runtime.contract.engine.build import Preprocess
    from runtime.engines.graph.preprocess import prepend

    def branch(name: str, sign: float) -> onnx.GraphProto:
        factor = helper.make_tensor(f"{name}_f", TensorProto.FLOAT, [], [sign])
        node = helper.make_node("Mul", ["x", f"{name}_f"], [name])
        return helper.make_graph([node], name, [], [helper.make_tensor_value_info(name, 1, None)], [factor])

    nodes = [
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Greater", ["most", "limit"], ["bright"]),
        helper.make_node("If", ["bright"], ["y"], then_branch=branch("a", 2.0), else_branch=branch("b", 3.0)),
    ]
    spec = TensorSpec("x", (1, 3, 4, 4), preprocess=Preprocess(4, 4, "rgb8", resize="none", scale=1.0))
    model = model_of(nodes, {"x": [1, 3, 4, 4]}, ["y"], {"limit": np.float32(100)}, opset=17)
    whole = prepend(freeze(model, [spec], [TensorSpec("y", ())]), [spec])
    frame = np.full((1, 4, 4, 3), 10, np.uint8)
    np.testing.assert_allclose(run(whole, x=frame)[0], 30.0)
    np.testing.assert_allclose(run(whole, x=frame * 20)[0], 400.0)
