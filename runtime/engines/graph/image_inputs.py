"""A model's image input as its exporter left it (channels last, bytes, no batch) → (1, C, rows, columns) float32.

Every other pass then sees one kind of image input. What is put in front stands between the preprocessing and the model:
integers are rounded to even and cut at their type's limits, in the graph and in the reference alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, TensorProto, helper

from runtime.contract.engine.build import TensorSpec
from runtime.contract.engine.image_layout import from_nchw
from runtime.engines.graph.nodes import rename_uses
from runtime.engines.graph.part import Part

NCHW = "nchw"
_LIMITS: dict[int, tuple[int, int]] = {
    TensorProto.UINT8: (0, 255),
    TensorProto.INT8: (-128, 127),
    TensorProto.UINT16: (0, 65535),
    TensorProto.INT16: (-32768, 32767),
    TensorProto.INT32: (-(2**24), 2**24),
    TensorProto.INT64: (-(2**24), 2**24),
}
"""Of whole numbers that float32 holds exactly."""
_MOVES = frozenset({"Transpose", "Identity", "Squeeze", "Unsqueeze", "Reshape", "Slice", "Concat"})


def layout_of(spec: TensorSpec) -> str:
    """Return the layout of a model's image input."""
    return (spec.preprocess.layout if spec.preprocess is not None else "") or NCHW


def model_shape(spec: TensorSpec) -> tuple[int, ...]:
    """Return the shape that the model itself has for an input."""
    return spec.shape if spec.preprocess is None else from_nchw(spec.shape, layout_of(spec))


def accept_images(graph: GraphProto, inputs: Sequence[TensorSpec]) -> None:
    """Change image inputs of a graph to (1, channels, rows, columns) float32, with what leads from there to the model's
    own form in front. Inputs that are so already stay as they are."""
    by_name = {value.name: value for value in graph.input}
    for spec in inputs:
        value = by_name[spec.name]
        element = int(value.type.tensor_type.elem_type)
        if spec.preprocess is None or (layout_of(spec) == NCHW and element == TensorProto.FLOAT):
            continue
        part = Part(f"{spec.name}/preprocess/model")
        plain = element in _LIMITS and _only_cast_to_float(graph, spec.name, set())
        rename_uses(graph, spec.name, part.output)
        _build(part, spec, element, cast=not plain)
        value.CopyFrom(helper.make_tensor_value_info(spec.name, TensorProto.FLOAT, spec.shape))
        graph.initializer.extend(part.initializers)
        body = [*part.nodes, *graph.node]
        del graph.node[:]
        graph.node.extend(body)


def _build(part: Part, spec: TensorSpec, element: int, *, cast: bool) -> None:
    value = spec.name
    if element in _LIMITS:
        low, high = (part.constant(name, np.float32(limit)) for name, limit in zip("lh", _LIMITS[element], strict=True))
        value = part.add("Clip", [part.add("Round", [value]), low, high])
    layout = layout_of(spec)
    if "n" not in layout:
        value = part.add("Squeeze", [value, part.constant("batch", np.asarray([0], np.int64))])
    if layout[-1] == "c":
        value = part.add("Transpose", [value], perm=[0, 2, 3, 1] if "n" in layout else [1, 2, 0])
    # TensorRT takes bytes as inputs of a network alone: they are made only where the model does more with them than
    # to make floats of them.
    if element != TensorProto.FLOAT and cast:
        part.add("Cast", [value], output=part.output, to=element)
    else:
        part.add("Identity", [value], output=part.output)


def _only_cast_to_float(graph: GraphProto, name: str, seen: set[str]) -> bool:
    """Say whether all that happens to a tensor is that it is moved, and cast to float32."""
    users = [node for node in graph.node if name in node.input]
    if name in seen or not users or any(value.name == name for value in graph.output):
        return False
    seen.add(name)
    for node in users:
        if node.op_type == "Cast" and any(each.name == "to" and each.i == TensorProto.FLOAT for each in node.attribute):
            continue
        if node.op_type not in _MOVES or not _only_cast_to_float(graph, node.output[0], seen):
            return False
    return True


def as_model_takes(tensor: npt.NDArray[Any], spec: TensorSpec, dtype: str) -> npt.NDArray[Any]:
    """Return a preprocessed image (1, channels, rows, columns) as the source model takes it. ``dtype`` is NumPy's."""
    kind = np.dtype(dtype)
    if kind.kind in "iu":
        low, high = _LIMITS[int(helper.np_dtype_to_tensor_dtype(kind))]
        tensor = np.clip(np.rint(tensor), low, high)
    layout = layout_of(spec)
    axes = [NCHW.index(axis) for axis in layout]
    turned = tensor.transpose([*axes, *(index for index in range(4) if index not in axes)])
    return np.ascontiguousarray(turned.reshape(model_shape(spec)), dtype=kind)
