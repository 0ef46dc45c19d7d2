"""ONNX Runtime's engines resize a frame as it lies in memory, and answer exactly as before."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
from onnx import ModelProto

from runtime.contract.engine.build import Preprocess, TensorSpec
from runtime.engines.graph.preprocess import preprocess_model
from runtime.engines.onnxruntime_.layout import resize_before_transpose

FRAME = np.random.default_rng(3).integers(0, 255, (1, 90, 120, 3), np.uint8)


def answer(model: ModelProto, frame: np.ndarray = FRAME) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    result: np.ndarray = session.run(None, {"frame": frame})[0]
    return result


def operators(model: ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_the_small_picture_is_transposed_not_the_frame(resize: str) -> None:
    model = preprocess_model(TensorSpec("image", (1, 3, 32, 48), preprocess=Preprocess(90, 120, "rgb8", resize=resize)))
    faster = resize_before_transpose(model)
    assert operators(model)[1:3] == ["Transpose", "Resize"]
    assert operators(faster)[1:3] == ["Resize", "Transpose"]
    assert sorted(operators(faster)) == sorted(operators(model))
    np.testing.assert_array_equal(answer(faster), answer(model))


@pytest.mark.parametrize(
    "preprocess", [Preprocess(90, 120, "bgr8"), Preprocess(90, 120, "rgb8", resize="none")], ids=["reordered", "as is"]
)
def test_what_does_not_fit_is_left_alone(preprocess: Preprocess) -> None:
    shape = (1, 3, 90, 120) if preprocess.resize == "none" else (1, 3, 32, 48)
    model = preprocess_model(TensorSpec("image", shape, preprocess=preprocess))
    assert resize_before_transpose(model).SerializeToString() == model.SerializeToString()
