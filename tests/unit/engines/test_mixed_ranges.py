"""Tensors that one int8 scale cannot hold stay in float."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper

from runtime.contract.engine.build import Int8Options, TensorSpec
from runtime.decoding.boxes.object_boxes import ObjectBoxes
from runtime.decoding.frame_boxes import View
from runtime.engines.golden.calibration import Arrays
from runtime.engines.graph.mixed_ranges import mixed_range_nodes
from runtime.engines.graph.normalize import fold, freeze
from runtime.engines.graph.quantize import STYLES, quantize
from runtime.engines.onnxruntime_.session import open_session
from tests.unit.engines.models import model_of

X = TensorSpec("x", (1, 8, 4, 4))


def detector(join: str = "Concat") -> ModelProto:
    """Boxes of 0 to 640 beside scores of 0 to 1, joined, then moved about: (1, 16, 6), one candidate a row."""
    rng = np.random.default_rng(5)
    node = helper.make_node
    weights: dict[str, Any] = {
        "wb": rng.normal(size=(4, 8, 1, 1)).astype("f4"),
        "ws": (rng.normal(size=(2, 8, 1, 1)) * 1.5).astype("f4"),
        "pixels": np.array(640.0, "f4"),
        "shape": np.array([1, 6, 16], np.int64),
        "zeros": np.zeros((1, 6, 4, 4), "f4"),
        "four": np.array([[[0, index] for index in range(4)]], np.int64),
        "two": np.array([[[0, 4], [0, 5]]], np.int64),
        "s4": np.array([1, 4, 4, 4], np.int64),
        "s2": np.array([1, 2, 4, 4], np.int64),
        "almost_one": np.full((1, 6, 1, 1), 0.999, "f4"),
    }
    nodes = [
        node("Conv", ["x", "wb"], ["b0"], "box_conv"),
        node("Sigmoid", ["b0"], ["b1"], "box_sigmoid"),
        node("Mul", ["b1", "pixels"], ["boxes"], "box_scale"),
        node("Conv", ["x", "ws"], ["s0"], "score_conv"),
        node("Sigmoid", ["s0"], ["scores"], "score_sigmoid"),
    ]
    if join == "Concat":
        nodes.append(node("Concat", ["boxes", "scores"], ["joined"], "join", axis=1))
    else:
        nodes += [
            node("Reshape", ["boxes", "s4"], ["bb"], "bb"),
            node("Reshape", ["scores", "s2"], ["ss"], "ss"),
            node("ScatterND", ["zeros", "four", "bb"], ["half"], "put_boxes"),
            node("ScatterND", ["half", "two", "ss"], ["joined"], "join"),
        ]
    nodes += [
        node("Mul", ["joined", "almost_one"], ["scaled"], "scale"),
        node("Reshape", ["scaled", "shape"], ["flat"], "flat"),
        node("Transpose", ["flat"], ["rows"], "turn", perm=[0, 2, 1]),
    ]
    return model_of(nodes, {"x": list(X.shape)}, ["rows"], weights)


def frozen(model: ModelProto) -> ModelProto:
    return fold(freeze(model, (X,), [TensorSpec("rows", ())]))


@pytest.mark.parametrize("join", ["Concat", "ScatterND"])
@pytest.mark.parametrize("style", sorted(STYLES))
def test_scores_beside_boxes_in_pixels_keep_their_precision_at_int8(join: str, style: str) -> None:
    values = np.random.default_rng(1).normal(size=(16, *X.shape[1:])).astype("f4")
    model = frozen(detector(join))
    said: list[str] = []
    low = quantize(model, (X,), Arrays({"x": values}), Int8Options("minmax"), style=STYLES[style], progress=said.append)
    feed = {"x": values[:1]}
    (fp32,) = open_session(model.SerializeToString()).run(None, feed)
    (int8,) = open_session(low.SerializeToString()).run(None, feed)
    assert int8[..., 4:].max() <= 1.0
    assert np.abs(int8[..., 4:] - fp32[..., 4:]).max() < 0.05
    options = {"labels": ["a", "b"], "threshold": 0.0}
    assert ObjectBoxes(options)(int8, View(640, 640, False, 640, 640)).scores.size
    assert any("very different ranges" in line for line in said) or style == "tensorrt"


def test_joins_of_like_ranges_are_quantized() -> None:
    model = frozen(detector())
    ranges = {"boxes": (0.0, 8.0), "scores": (0.0, 1.0)}
    assert mixed_range_nodes(model, ranges) == []
    assert mixed_range_nodes(model, {}) == []


def test_what_reads_a_mixed_join_stays_in_float_up_to_the_next_convolution() -> None:
    ranges = {"boxes": (0.0, 640.0), "scores": (0.0, 1.0)}
    assert mixed_range_nodes(frozen(detector()), ranges) == ["join", "scale", "flat", "turn"]
    node = helper.make_node
    nodes = [
        node("Relu", ["a"], ["small"], "relu"),
        node("Concat", ["a", "big"], ["both"], "join", axis=1),
        node("Conv", ["both", "w"], ["c"], "conv"),
        node("Relu", ["c"], ["rows"], "last"),
    ]
    weights = {"big": np.full((1, 8, 4, 4), 900.0, "f4"), "w": np.ones((2, 16, 1, 1), "f4")}
    model = model_of(nodes, {"a": [1, 8, 4, 4]}, ["rows"], weights)
    assert mixed_range_nodes(model, {"a": (-1.0, 1.0)}) == ["join"], "constants have ranges too"


@pytest.mark.parametrize("score", [1.243, 56.0, -0.2])
def test_numbers_that_are_no_scores_are_refused_with_their_range(score: float) -> None:
    decode = ObjectBoxes({"labels": ["a"]})
    rows = np.array([[[10, 10, 4, 4, score]]], "f4")
    with pytest.raises(ValueError, match=r"the scores reach from .* a score lies between 0 and 1"):
        decode(rows, View(32, 32, False, 32, 32))
    rows[..., 4] = 1.009
    assert decode(rows, View(32, 32, False, 32, 32)).scores.size == 1
