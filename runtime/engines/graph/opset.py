"""A newer operator set brought down to one that a parser reads, node by node, by what each operator's change was.

The converter of the package `onnx` goes one version at a time and stops at the first operator that it has no step for;
Split and Pad are among them, and every export of today has one. Here an operator that did not change, or whose
attributes and inputs all exist in the older version, stays as it is; those that changed have a rewrite of their own;
those that are new and defined by other operators are replaced by these. The rest is refused by name.

What comes out is held against the source model at its own operator set by every build, so a change of meaning that
is not known here shows as a difference of answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, defs, helper, inliner, numpy_helper, shape_inference

from runtime.engines.errors import EngineError
from runtime.engines.graph.nodes import all_graphs, attribute_of, name_nodes

EXPORT_HINT = (
    "export it with an older operator set: torch.onnx.export(..., opset_version=17, dynamo=False); the exporter that "
    "torch uses by default (dynamo=True) writes 18 and newer"
)
_REDUCTIONS = ("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
               "ReduceProd", "ReduceSumSquare")  # fmt: skip
#: Attributes that came after opset 17 and say nothing at this value.
_SAYS_NOTHING = {"saturate": 1, "block_size": 0, "antialias": 0, "ceil_mode": 0, "precision": 0, "stash_type": 1,
                 "output_dtype": 0, "noop_with_empty_axes": 0, "round_mode": b"up",
                 "keep_aspect_ratio_policy": b"stretch"}  # fmt: skip


class _CannotLower(Exception):
    """Why one node has no form in the older operator set."""


def lowered(model: ModelProto, found: int, target: int) -> ModelProto:
    """Return ``model``, of operator set ``found``, at ``target``. Raises EngineError of kind ``unsupported``."""
    result = ModelProto()
    result.CopyFrom(model)
    try:
        result = _expanded(result, target)
        types = _Tensors(result)
        for graph in all_graphs(result.graph):
            for node in list(graph.node):
                _lower(graph, node, found, target, types)
    except _CannotLower as why:
        raise EngineError(
            "unsupported", f"the model uses opset {found} and cannot be brought to {target}: {why}", EXPORT_HINT
        ) from None
    for entry in result.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = target
    del result.graph.value_info[:]
    return result


def _expanded(model: ModelProto, target: int) -> ModelProto:
    """Replace operators that the older set lacks by those that they are defined by."""
    for _ in range(4):  # a definition may use another one
        new = sorted({node.op_type for node in _standard(model) if _schema(node.op_type, target) is None})
        if not new:
            return model
        known = _schema(new[0], _version(model))
        if known is None or not _is_defined_by_others(known):
            break
        try:
            model = inliner.inline_selected_functions(
                _typed(model), [("", name) for name in new], inline_schema_functions=True
            )
        except Exception as error:  # the inliner raises RuntimeError and types of its own
            raise _CannotLower(f"operator {new[0]}: {str(error).strip().splitlines()[0][:200]}") from error
        name_nodes(model.graph)
    left = sorted({node.op_type for node in _standard(model) if _schema(node.op_type, target) is None})
    if left:
        raise _CannotLower(f"operator {', '.join(left)} came after it")
    return model


def _standard(model: ModelProto) -> Iterator[NodeProto]:
    for graph in all_graphs(model.graph):
        yield from (node for node in graph.node if node.domain in ("", "ai.onnx"))


def _version(model: ModelProto) -> int:
    return next(int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


def _schema(operator: str, version: int) -> defs.OpSchema | None:
    try:
        schema: defs.OpSchema = defs.get_schema(operator, version)
    except defs.SchemaError:
        return None
    return None if schema.deprecated else schema


def _is_defined_by_others(schema: Any) -> bool:
    return bool(schema.has_function or schema.has_context_dependent_function)


def _typed(model: ModelProto) -> ModelProto:
    """Return the model with every tensor's type written down, weights included: definitions depend on them."""
    known = shape_inference.infer_shapes(model)
    there = {value.name for value in known.graph.value_info}
    for tensor in known.graph.initializer:
        if tensor.name not in there:
            known.graph.value_info.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            )
    return known


class _Tensors:
    """What is known of tensors: constants, shapes, element types."""

    def __init__(self, model: ModelProto) -> None:
        self._constants: dict[str, TensorProto] = {}
        self._shapes: dict[str, tuple[int | None, ...]] = {}
        self.elements: dict[str, int] = {}
        for graph in all_graphs(shape_inference.infer_shapes(model).graph):
            self._read(graph)

    def _read(self, graph: GraphProto) -> None:
        for tensor in graph.initializer:
            self._constants[tensor.name] = tensor
            self._shapes[tensor.name] = tuple(int(size) for size in tensor.dims)
            self.elements[tensor.name] = int(tensor.data_type)
        for node in graph.node:
            value = attribute_of(node, "value")
            if node.op_type == "Constant" and value is not None:
                self._constants[node.output[0]] = value.t
        for info in (*graph.input, *graph.output, *graph.value_info):
            kind = info.type.tensor_type
            self.elements[info.name] = int(kind.elem_type)
            if kind.HasField("shape"):
                self._shapes[info.name] = tuple(
                    int(dim.dim_value) if dim.HasField("dim_value") else None for dim in kind.shape.dim
                )

    def constant(self, name: str) -> npt.NDArray[np.generic] | None:
        tensor = self._constants.get(name)
        return None if tensor is None else np.asarray(numpy_helper.to_array(tensor))

    def shape(self, name: str) -> tuple[int | None, ...] | None:
        return self._shapes.get(name)

    def rank(self, name: str, node: NodeProto) -> int:
        shape = self.shape(name)
        if shape is None:
            raise _CannotLower(f"{_called(node)} has axes of a tensor whose rank is not known")
        return len(shape)


def _lower(graph: GraphProto, node: NodeProto, found: int, target: int, tensors: _Tensors) -> None:
    if node.domain not in ("", "ai.onnx"):
        return
    new, old = _schema(node.op_type, found), _schema(node.op_type, target)
    if old is None:
        raise _CannotLower(f"operator {node.op_type} is not in it")
    if new is None or new.since_version == old.since_version:
        return
    if rewrite := _REWRITES.get(node.op_type):
        rewrite(graph, node, tensors)
    for item in list(node.attribute):
        if item.name not in old.attributes:
            value = helper.get_attribute_value(item)
            if value != _SAYS_NOTHING.get(item.name):
                raise _CannotLower(f"{_called(node)} has {item.name}={value!r}, which came after it")
            node.attribute.remove(item)
    while node.input and not node.input[-1]:
        del node.input[-1]
    if len(node.input) > old.max_input:
        raise _CannotLower(f"{_called(node)} reads {len(node.input)} tensors, and may read {old.max_input} there")


def _called(node: NodeProto) -> str:
    return f"{node.op_type} {node.name!r}"


def _drop(node: NodeProto, *names: str) -> None:
    for item in list(node.attribute):
        if item.name in names:
            node.attribute.remove(item)


def _add_constant(graph: GraphProto, node: NodeProto, what: str, values: npt.NDArray[np.generic]) -> str:
    name = f"{node.output[0]}/{what}"
    graph.initializer.append(numpy_helper.from_array(values, name))
    return name


def _axes(node: NodeProto, place: int, tensors: _Tensors) -> list[int] | None:
    """Return the axes that an input gives, None where it gives none."""
    if len(node.input) <= place or not node.input[place]:
        return None
    values = tensors.constant(node.input[place])
    if values is None:
        raise _CannotLower(f"{_called(node)} computes its axes, and they must be constants there")
    return [int(value) for value in values.ravel()]


def _reduction(graph: GraphProto, node: NodeProto, tensors: _Tensors) -> None:
    del graph
    axes = _axes(node, 1, tensors)
    nothing = attribute_of(node, "noop_with_empty_axes")
    if not axes and nothing is not None and nothing.i:
        raise _CannotLower(f"{_called(node)} reduces nothing (noop_with_empty_axes)")
    _drop(node, "noop_with_empty_axes")
    if axes:
        node.attribute.append(helper.make_attribute("axes", axes))
    del node.input[1:]
    if tensors.elements.get(node.input[0]) == TensorProto.BOOL:
        raise _CannotLower(f"{_called(node)} reduces truth values")


def _split(graph: GraphProto, node: NodeProto, tensors: _Tensors) -> None:
    if len(node.input) > 1 and node.input[1]:
        _drop(node, "num_outputs")
        return
    count, shape = len(node.output), tensors.shape(node.input[0])
    _drop(node, "num_outputs")
    axis = attribute_of(node, "axis")
    size = shape[axis.i if axis is not None else 0] if shape else None
    if size is None:  # the older form splits evenly, or does not run at all
        return
    each = -(-size // count)
    sizes = [each] * (count - 1) + [size - each * (count - 1)]
    del node.input[1:]
    node.input.append(_add_constant(graph, node, "split", np.asarray(sizes, np.int64)))


def _pad(graph: GraphProto, node: NodeProto, tensors: _Tensors) -> None:
    mode = attribute_of(node, "mode")
    if mode is not None and mode.s == b"wrap":
        raise _CannotLower(f"{_called(node)} has mode wrap, which came after it")
    axes = _axes(node, 3, tensors)
    del node.input[3:]
    if axes is None:
        return
    rank, given = tensors.rank(node.input[0], node), tensors.constant(node.input[1])
    if given is None:
        raise _CannotLower(f"{_called(node)} computes its pads for some axes")
    pads = np.zeros((2, rank), np.int64)
    pads[:, [axis % rank for axis in axes]] = np.asarray(given, np.int64).reshape(2, -1)
    node.input[1] = _add_constant(graph, node, "pads", pads.ravel())


def _resize(graph: GraphProto, node: NodeProto, tensors: _Tensors) -> None:
    shape = tensors.shape(node.input[0])
    axes = attribute_of(node, "axes")
    if axes is not None:
        _resize_all_axes(graph, node, [int(axis) for axis in axes.ints], shape, tensors)
        _drop(node, "axes")
    smooth = attribute_of(node, "antialias")
    if smooth is not None and smooth.i and _only_larger(tensors.shape(node.output[0]), shape):
        _drop(node, "antialias")  # it does something to what becomes smaller alone


def _only_larger(after: tuple[int | None, ...] | None, before: tuple[int | None, ...] | None) -> bool:
    if after is None or before is None or len(after) != len(before):
        return False
    return all(a == b or (a is not None and b is not None and a >= b) for a, b in zip(after, before, strict=True))


def _resize_all_axes(
    graph: GraphProto, node: NodeProto, axes: list[int], shape: tuple[int | None, ...] | None, tensors: _Tensors
) -> None:
    if shape is None or (len(node.input) > 1 and node.input[1]):
        raise _CannotLower(f"{_called(node)} resizes some axes of a tensor whose rank is not known, or within a region")
    rank = len(shape)
    scales = tensors.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    if scales is not None and scales.size:
        whole = np.ones(rank, np.float32)
        whole[[axis % rank for axis in axes]] = scales
        node.input[2] = _add_constant(graph, node, "scales", whole)
        return
    sizes = tensors.constant(node.input[3]) if len(node.input) > 3 and node.input[3] else None
    if sizes is None or any(size is None for index, size in enumerate(shape) if index not in {a % rank for a in axes}):
        raise _CannotLower(f"{_called(node)} computes the sizes of some axes")
    every = np.asarray([size or 0 for size in shape], np.int64)
    every[[axis % rank for axis in axes]] = sizes
    node.input[3] = _add_constant(graph, node, "sizes", every)


def _grid_sample(graph: GraphProto, node: NodeProto, tensors: _Tensors) -> None:
    del graph
    if len(tensors.shape(node.input[0]) or (0,) * 4) != 4:
        raise _CannotLower(f"{_called(node)} samples a volume")
    mode = attribute_of(node, "mode")
    if mode is not None:
        mode.s = {b"linear": b"bilinear", b"cubic": b"bicubic"}.get(mode.s, mode.s)


def _dilated_pool(graph: GraphProto, node: NodeProto, tensors: _Tensors) -> None:
    del graph, tensors
    dilations = attribute_of(node, "dilations")
    if dilations is not None and all(value == 1 for value in dilations.ints):
        _drop(node, "dilations")


def _scatter(graph: GraphProto, node: NodeProto, tensors: _Tensors) -> None:
    del graph, tensors
    reduction = attribute_of(node, "reduction")
    if reduction is not None and reduction.s in (b"max", b"min"):
        raise _CannotLower(f"{_called(node)} has reduction {reduction.s.decode()}, which came after it")


def _fourier(graph: GraphProto, node: NodeProto, tensors: _Tensors) -> None:
    del graph
    axes = _axes(node, 2, tensors)
    del node.input[2:]
    rank = tensors.rank(node.input[0], node)
    node.attribute.append(helper.make_attribute("axis", (axes[0] if axes else -2) % rank))


_REWRITES: dict[str, Callable[[GraphProto, NodeProto, _Tensors], None]] = {
    **dict.fromkeys(_REDUCTIONS, _reduction),
    "Split": _split,
    "Pad": _pad,
    "Resize": _resize,
    "GridSample": _grid_sample,
    "AveragePool": _dilated_pool,
    "LpPool": _dilated_pool,
    "ScatterND": _scatter,
    "ScatterElements": _scatter,
    "DFT": _fourier,
}
