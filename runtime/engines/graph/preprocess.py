"""A camera's frame → the model's tensor, as ONNX nodes (see :class:`runtime.contract.engine.build.Preprocess`).

The nodes are Cast, what `camera_colors.py` needs for the frame's encoding, Resize, Pad, Mul, Add: standard operators
that exist from opset 13 on, in an order that TensorRT takes too (a uint8 input must meet a Cast first). Scale, mean and
standard deviation are folded into one Mul and one Add per channel. All of it stays fp32 whatever the model's precision.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from runtime.contract.engine.build import TOP_LEFT, Preprocess, TensorSpec
from runtime.contract.node.encodings import ENCODINGS
from runtime.decoding.letterbox import PAD_VALUE, letterbox
from runtime.engines.errors import EngineError
from runtime.engines.graph.camera_colors import planes, turned
from runtime.engines.graph.nodes import rename_uses
from runtime.engines.graph.normalize import MIN_OPSET
from runtime.engines.graph.part import Part

_ROTATIONS, _FLIPS = (0, 90, 180, 270), ("", "horizontal", "vertical")
_ELEMENT = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}
_COLOR_CHANNELS = {"rgb": 3, "bgr": 3, "gray": 1}
IR_VERSION = 8
"""Of graphs made here; readable by every supported ONNX Runtime and TensorRT."""


def engine_input(spec: TensorSpec) -> TensorSpec:
    """Return what the engine takes for a model's input. Raises EngineError when the two cannot fit."""
    pre = spec.preprocess
    if pre is None:
        return spec
    encoding = ENCODINGS.get(pre.encoding)
    if encoding is None or pre.color not in _COLOR_CHANNELS:
        raise EngineError(
            "unsupported",
            f"input {spec.name!r}: no preprocessing from encoding {pre.encoding!r} to color {pre.color!r}",
            f"use one of {', '.join(ENCODINGS)}, and rgb, bgr or gray",
        )
    if (misfit := encoding.misfit(pre.height, pre.width)) or pre.rotate not in _ROTATIONS or pre.flip not in _FLIPS:
        raise EngineError(
            "unsupported",
            f"input {spec.name!r}: {misfit or f'rotate {pre.rotate} and flip {pre.flip!r}'}",
            "correct the frame's size; rotate is 0, 90, 180 or 270, flip horizontal, vertical or nothing",
        )
    expected = (1, _COLOR_CHANNELS[pre.color])
    if len(spec.shape) != 4 or spec.shape[:2] != expected:
        raise EngineError(
            "bad-model",
            f"input {spec.name!r} has shape {list(spec.shape)}, but color {pre.color!r} makes {[*expected, 'H', 'W']}",
            "image inputs are NCHW with batch 1: correct `shape` or `preprocess.color`",
        )
    if pre.place not in ("", TOP_LEFT):
        raise EngineError(
            "unsupported", f"input {spec.name!r}: place {pre.place!r}", "write top_left, or nothing: centred"
        )
    if pre.resize == "none" and spec.shape[2:] != pre.upright:
        raise EngineError(
            "bad-model",
            f"input {spec.name!r}: the frame is {pre.upright[0]}x{pre.upright[1]}, "
            f"the tensor {spec.shape[2]}x{spec.shape[3]}, and resize is 'none'",
            "set `resize: stretch` or `letterbox`, or give the tensor the frame's size",
        )
    return TensorSpec(spec.name, encoding.shape(pre.height, pre.width), encoding.dtype, pre)


def prepend(model: ModelProto, inputs: Sequence[TensorSpec]) -> ModelProto:
    """Return ``model`` (float tensors in) with every image input replaced by the camera's frame.

    Inputs keep their names. Raises EngineError.
    """
    result = ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    nodes: list[NodeProto] = []
    places = {value.name: index for index, value in enumerate(graph.input)}
    for spec in inputs:
        frame = engine_input(spec)
        if spec.preprocess is None:
            continue
        part = _Part(f"{spec.name}/preprocess")
        rename_uses(graph, spec.name, part.output)
        part.build(spec.name, spec)
        graph.input[places[spec.name]].CopyFrom(
            helper.make_tensor_value_info(spec.name, _ELEMENT[frame.dtype], frame.shape)
        )
        graph.value_info.append(helper.make_tensor_value_info(part.output, TensorProto.FLOAT, spec.shape))
        graph.initializer.extend(part.initializers)
        nodes.extend(part.nodes)
    body = [*nodes, *graph.node]
    del graph.node[:]
    graph.node.extend(body)
    return result


def preprocess_model(spec: TensorSpec) -> ModelProto:
    """Return a model that is the preprocessing of one image input alone: ``frame`` in, ``tensor`` out."""
    frame = engine_input(spec)
    part = _Part("tensor")
    part.output = "tensor"
    part.build("frame", spec)
    graph: GraphProto = helper.make_graph(
        part.nodes,
        "preprocess",
        [helper.make_tensor_value_info("frame", _ELEMENT[frame.dtype], frame.shape)],
        [helper.make_tensor_value_info("tensor", TensorProto.FLOAT, spec.shape)],
        part.initializers,
    )
    model: ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", MIN_OPSET)])
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model)
    return model


class _Part(Part):
    """The preprocessing of one input."""

    def build(self, source: str, spec: TensorSpec) -> None:
        pre = spec.preprocess
        assert pre is not None
        value = turned(self, planes(self, source, pre), pre)
        value = self._resize(value, pre, spec.shape[2], spec.shape[3])
        self._normalise(value, pre)

    def _resize(self, value: str, pre: Preprocess, height: int, width: int) -> str:
        place = letterbox(*pre.upright, height, width, top_left=pre.place == TOP_LEFT)
        rows, columns = (place.height, place.width) if pre.resize == "letterbox" else (height, width)
        if (rows, columns) != pre.upright:
            channels = _COLOR_CHANNELS[pre.color]
            sizes = self.constant("sizes", np.asarray([1, channels, rows, columns], np.int64))
            value = self.add(
                "Resize", [value, "", "", sizes], mode="linear", coordinate_transformation_mode="half_pixel"
            )
        if (rows, columns) == (height, width):
            return value
        bottom, right = height - rows - place.top, width - columns - place.left
        pads = self.constant("pads", np.asarray([0, 0, place.top, place.left, 0, 0, bottom, right], np.int64))
        return self._padded(value, pads, pre)

    def _padded(self, value: str, pads: str, pre: Preprocess) -> str:
        """Put bars around the frame. ONNX pads with one number: where channels differ, the frame less their colour is
        padded with 0, and the colour added to all of it."""
        channels = _COLOR_CHANNELS[pre.color]
        color = _per_channel("pad", pre.pad or (PAD_VALUE,), channels).astype(np.float32)
        if np.all(color == color[0]):
            return self.add("Pad", [value, pads, self.constant("grey", np.asarray(color[0], np.float32))])
        bars = self.constant("pad", color.reshape(1, channels, 1, 1))
        return self.add("Add", [self.add("Pad", [self.add("Sub", [value, bars]), pads]), bars])

    def _normalise(self, value: str, pre: Preprocess) -> None:
        channels = _COLOR_CHANNELS[pre.color]
        mean, std = _per_channel("mean", pre.mean, channels), _per_channel("std", pre.std, channels)
        if not np.all(np.abs(std) > 0):
            raise EngineError(
                "unsupported", f"preprocess.std {list(pre.std)} holds a zero", "write divisors other than zero"
            )
        factor = self.constant("scale", (pre.scale / std).astype(np.float32).reshape(1, channels, 1, 1))
        offset = self.constant("offset", (-mean / std).astype(np.float32).reshape(1, channels, 1, 1))
        self.add("Add", [self.add("Mul", [value, factor]), offset], output=self.output)


def _per_channel(what: str, values: Sequence[float], channels: int) -> npt.NDArray[np.float64]:
    """One value per channel; equal values may be given for another number of channels (the manifest's defaults)."""
    array = np.asarray(values, np.float64)
    if array.size != channels and array.size and np.all(array == array[0]):
        array = np.full(channels, array[0])
    if array.size != channels:
        raise EngineError(
            "unsupported",
            f"preprocess.{what} has {array.size} values for {channels} channel{'s' if channels > 1 else ''}",
            f"give {channels}",
        )
    return array
