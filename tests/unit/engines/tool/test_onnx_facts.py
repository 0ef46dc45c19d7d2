"""What an ONNX file says of itself, and the shapes that it leaves open."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import TensorProto, helper

from runtime.contract.engine.engine_facts import TensorFacts
from runtime.engines.errors import EngineError
from runtime.engines.tool.onnx_facts import check_names, facts_of, fixed_shape, read_onnx
from tests.unit.engines.models import conv_net, model_of
from tests.unit.engines.tool.site import onnx_file

FREE = TensorFacts("image", "float32", ("N", 3, "H", "?"))


def test_a_model_is_described_as_it_was_exported(tmp_path: Path) -> None:
    facts = read_onnx(onnx_file(tmp_path, opset=12))
    assert facts.opset == 12
    assert facts.inputs == (TensorFacts("image", "float32", ("N", 3, "H", "W")),)
    assert [(item.name, item.dtype) for item in facts.outputs] == [("scores", "float32"), ("hidden", "float32")]
    assert facts.operators == {"Conv": 4, "Relu": 3, "GlobalAveragePool": 1, "Sigmoid": 1}
    weights = 8 * 3 * 9 + 8 * 8 * 9 * 2 + 2 * 8 * 9 + 8 * 3 + 2
    assert facts.weight_bytes == {"float32": 4 * weights}


def test_constants_and_other_domains_are_counted() -> None:
    value = helper.make_tensor("v", TensorProto.INT64, [3], [1, 2, 3])
    model = model_of(
        [
            helper.make_node("Constant", [], ["c"], value=value),
            helper.make_node("Identity", ["x"], ["y"]),
        ],
        {"x": [1, 3]}, ["y"], {},
    )  # fmt: skip
    model.graph.node[1].domain, model.graph.node[1].op_type = "com.example", "Odd"
    facts = facts_of(model)
    assert facts.operators == {"Constant": 1, "com.example::Odd": 1}
    assert facts.weight_bytes == {"int64": 24}


def test_a_free_batch_is_one_and_the_rest_is_asked_for() -> None:
    assert fixed_shape(TensorFacts("x", "float32", ("N", 3)), {}) == (1, 3)
    assert fixed_shape(FREE, {"image": (1, 3, 8, 8)}) == (1, 3, 8, 8)
    with pytest.raises(EngineError, match="it needs a shape") as caught:
        fixed_shape(FREE, {})
    assert (caught.value.kind, caught.value.hint) == ("usage", "give one: --shape image=1x3x224x224")


@pytest.mark.parametrize("shape", [(1, 4, 8, 8), (1, 3, 8)])
def test_a_shape_that_the_model_cannot_have_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(EngineError, match=r"Nx3xHx. in the model and cannot be 1x"):
        fixed_shape(FREE, {"image": shape})


def test_a_shape_for_nothing_is_refused() -> None:
    with pytest.raises(EngineError, match="there is no input 'imgae'"):
        check_names({"imgae": (1,)}, ["image"])


def test_a_conv_nets_shape_is_inferred() -> None:
    assert facts_of(conv_net(dynamic=False)).inputs[0].shape == (1, 3, 16, 20)
