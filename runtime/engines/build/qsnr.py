"""What a precision does to the numbers that one node reads: signal to noise, without running the network again.

Cheap (the float model runs once, on one frame), and only a hint at what reaches the output: it chooses which nodes are
measured. Channels count alike, because a tensor's loudest channel hides what happens to the others.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, TensorProto, helper, numpy_helper

from runtime.engines.graph.normalize import element_types, infer
from runtime.engines.onnxruntime_.session import open_session

Array = npt.NDArray[Any]
CLEAN_DB = 120.0
"""No noise at all is given this number."""


@dataclass(frozen=True)
class Steps:
    """How a tensor is quantized."""

    scale: Array
    zero: Array
    low: int
    high: int
    axis: int

    def applied(self, values: Array) -> Array:
        """Return ``values`` quantized and taken back to float."""
        shape = [-1 if self.scale.ndim and index == self.axis else 1 for index in range(values.ndim)]
        scale, zero = self.scale.reshape(shape), self.zero.reshape(shape).astype(np.float64)
        result: Array = (np.clip(np.rint(values / scale) + zero, self.low, self.high) - zero) * scale
        return result


def half(values: Array) -> Array:
    """Return ``values`` as float16 holds them; what it cannot hold becomes 0, which is noise as large as the signal."""
    limit = float(np.finfo(np.float16).max)
    result: Array = np.where(np.abs(values) <= limit, values, 0.0).astype(np.float16).astype(np.float64)
    return result


def qsnr_db(values: Array, changed: Array) -> float:
    """Return the mean over channels (axis 1) of 10 log10(signal / noise), each from 0 to ``CLEAN_DB``."""
    axes = tuple(index for index in range(values.ndim) if index != 1) if values.ndim > 1 else None
    signal = np.atleast_1d(np.sum(np.square(values, dtype=np.float64), axis=axes))
    noise = np.atleast_1d(np.sum(np.square(values - changed, dtype=np.float64), axis=axes))
    heard = signal > 0.0
    if not heard.any():
        return CLEAN_DB
    with np.errstate(divide="ignore"):
        decibels = 10.0 * np.log10(signal[heard] / noise[heard])
    return float(np.clip(decibels, 0.0, CLEAN_DB).mean())


def steps_of(quantized: ModelProto) -> dict[str, Steps]:
    """Return how every activation and weight of a Q/DQ graph is quantized, by its name in the float graph."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in quantized.graph.initializer}
    found: dict[str, Steps] = {}
    for node in quantized.graph.node:
        stored = node.op_type == "DequantizeLinear" and node.input[0] in constants
        if not stored and node.op_type != "QuantizeLinear":
            continue
        scale, zero = constants[node.input[1]], constants[node.input[2]]
        if zero.dtype not in (np.int8, np.uint8):
            continue  # biases, in 32 bits
        axis = next((item.i for item in node.attribute if item.name == "axis"), 1)
        limits = np.iinfo(zero.dtype)
        found[node.input[0].removesuffix("_quantized")] = Steps(scale, zero, int(limits.min), int(limits.max), axis)
    return found


def values_of(model: ModelProto, names: Collection[str], feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Return the tensors ``names`` of a float model for one set of inputs, weights included."""
    known = ModelProto()
    known.CopyFrom(infer(model))
    values = {t.name: numpy_helper.to_array(t) for t in known.graph.initializer if t.name in names}
    values |= {name: np.asarray(array) for name, array in feeds.items() if name in names}
    types = element_types(known.graph)
    wanted = sorted(name for name in names if name not in values and types.get(name) == TensorProto.FLOAT)
    del known.graph.output[:]
    known.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in wanted)
    if wanted:
        answers = open_session(known.SerializeToString(), optimize=False).run(wanted, dict(feeds))
        values |= dict(zip(wanted, answers, strict=True))
    return {name: array for name, array in values.items() if np.issubdtype(array.dtype, np.floating)}
