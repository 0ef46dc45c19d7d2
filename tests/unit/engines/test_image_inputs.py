"""Image inputs in other layouts and of other types: the engine's answers are those of the model that takes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from runtime.contract.engine.build import BuildOptions, Preprocess, TensorSpec
from runtime.engines.build.fp32_reference import Reference
from runtime.engines.errors import EngineError
from runtime.engines.graph.transform import transform
from tests.unit.engines.models import frames

ROWS, COLUMNS = 8, 12
OUTPUT = (TensorSpec("y", ()),)


def model_of(shape: list[int], element: int, turns: list[list[int]], *, bytes_only: bool = False) -> Any:
    """y = the weighted sum of every pixel; ``turns``: transpositions to NCHW. ``bytes_only``: the input is used as it
    is too."""
    weights = np.random.default_rng(2).normal(size=(3, 8 * 12 * 3)).astype(np.float32)[:, :]
    nodes = [helper.make_node("Cast", ["x"], ["f"], "cast", to=TensorProto.FLOAT)]
    value = "f"
    for index, perm in enumerate(turns):
        nodes.append(helper.make_node("Transpose", [value], [f"v{index}"], f"turn{index}", perm=perm))
        value = f"v{index}"
    nodes += [
        helper.make_node("Reshape", [value, "flat"], ["r"], "reshape"),
        helper.make_node("MatMul", ["r", "w"], ["y"], "product"),
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])]
    if bytes_only:
        nodes.append(helper.make_node("Identity", ["x"], ["same"], "same"))
        outputs.append(helper.make_tensor_value_info("same", element, shape))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", element, shape)],
        outputs,
        [numpy_helper.from_array(weights.T.copy(), "w"), numpy_helper.from_array(np.array([1, -1], np.int64), "flat")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    return made


LAYOUTS: dict[str, tuple[list[int], list[list[int]]]] = {
    "nchw": ([1, 3, ROWS, COLUMNS], []),
    "nhwc": ([1, ROWS, COLUMNS, 3], [[0, 3, 1, 2]]),
    "chw": ([3, ROWS, COLUMNS], []),
    "hwc": ([ROWS, COLUMNS, 3], [[2, 0, 1]]),
}


def spec(layout: str, **changes: Any) -> TensorSpec:
    pre = Preprocess(16, 20, "rgb8", layout="" if layout == "nchw" else layout, **changes)
    return TensorSpec("x", (1, 3, ROWS, COLUMNS), preprocess=pre)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("element", "changes"),
    [
        (TensorProto.FLOAT, {}),
        (TensorProto.UINT8, {"scale": 1.0}),
        (TensorProto.INT8, {"scale": 1.0, "mean": (128.0,) * 3}),
        (TensorProto.FLOAT16, {}),
        (TensorProto.DOUBLE, {}),
        (TensorProto.INT32, {"scale": 1.0}),
    ],
)
def test_the_engine_answers_as_the_model_does(
    layout: str, element: int, changes: dict[str, Any], tmp_path: Any
) -> None:
    shape, turns = LAYOUTS[layout]
    source = model_of(shape, element, turns)
    path = tmp_path / "model.onnx"
    path.write_bytes(source.SerializeToString())
    inputs = (spec(layout, **changes),)
    engine = transform(path, inputs, OUTPUT, precision="fp32", options=BuildOptions())
    frame = frames(1, size=(16, 20))
    session = ort.InferenceSession(engine.SerializeToString(), providers=["CPUExecutionProvider"])
    (own,) = session.run(["y"], {"x": frame})
    right = Reference(path, inputs, OUTPUT)({"x": frame})["y"]
    np.testing.assert_allclose(own, right, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(right, by_hand(frame, element, changes), rtol=1e-3, atol=0.05 if element == 10 else 0.5)
    assert np.abs(right).max() > 0.5


def by_hand(frame: np.ndarray, element: int, changes: dict[str, Any]) -> np.ndarray:
    """Return y in float64, whatever the layout: pixels resized, scaled, whole where the model takes integers."""
    image = frame[0].astype(np.float64)
    rows = np.clip((np.arange(ROWS) + 0.5) * 2 - 0.5, 0, 15)
    columns = np.clip((np.arange(COLUMNS) + 0.5) * 20 / 12 - 0.5, 0, 19)
    low, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    down, right = np.minimum(low + 1, 15), np.minimum(left + 1, 19)
    y, x = (rows - low)[:, None, None], (columns - left)[None, :, None]
    image = (image[low][:, left] * (1 - x) + image[low][:, right] * x) * (1 - y) + (
        image[down][:, left] * (1 - x) + image[down][:, right] * x
    ) * y
    image = image * changes.get("scale", 1 / 255) - changes.get("mean", (0.0,))[0]
    if element in (TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32):
        image = np.rint(image)
    weights = np.random.default_rng(2).normal(size=(3, ROWS * COLUMNS * 3)).astype(np.float32)
    return np.asarray((weights @ image.transpose(2, 0, 1).ravel())[None])


def test_bytes_are_made_inside_only_where_the_model_needs_them(tmp_path: Any) -> None:
    """TensorRT takes uint8 as a network's input alone."""
    kinds = {}
    for bytes_only in (False, True):
        path = tmp_path / f"{bytes_only}.onnx"
        shape, turns = LAYOUTS["nhwc"]
        path.write_bytes(model_of(shape, TensorProto.UINT8, turns, bytes_only=bytes_only).SerializeToString())
        outputs = (*OUTPUT, TensorSpec("same", ())) if bytes_only else OUTPUT
        engine = transform(path, (spec("nhwc", scale=1.0),), outputs, precision="fp32", options=BuildOptions())
        kinds[bytes_only] = {
            attribute.i
            for node in engine.graph.node
            if node.op_type == "Cast"
            for attribute in node.attribute
            if attribute.name == "to"
        }
    assert TensorProto.UINT8 not in kinds[False]
    assert TensorProto.UINT8 in kinds[True]


def test_a_shape_of_another_layout_is_refused(tmp_path: Any) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model_of(*LAYOUTS["nhwc"][:1], TensorProto.FLOAT, LAYOUTS["nhwc"][1]).SerializeToString())
    with pytest.raises(EngineError, match="is 1x8x12x3 in the model, but 1x3x8x12 in the manifest"):
        transform(path, (spec("nchw"),), OUTPUT, precision="fp32", options=BuildOptions())
