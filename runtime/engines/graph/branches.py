"""If nodes whose condition a constant decides: the branch that is taken, in their place.

An input that is declared constant (a sample rate) decides at build time what an exporter left open. ONNX Runtime's own
folding of such graphs ends the process for some (1.32, Silero VAD), and TensorRT would build both branches.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, ModelProto, NodeProto, numpy_helper
from onnx.reference import ReferenceEvaluator

from runtime.engines.graph.nodes import attribute_of, has_subgraph, rename_uses, subgraphs
from runtime.engines.graph.normalize import constants_to_initializers, infer, opset_of

Array = npt.NDArray[Any]
_MOST_VALUES = 4096
"""Of a tensor that a condition is computed from: weights are none."""


def decided(model: ModelProto) -> ModelProto:
    """Return the model without the If nodes whose condition is known before it runs. Raises EngineError."""
    result = ModelProto()
    result.CopyFrom(model)
    opset = opset_of(result)
    changed = False
    while True:
        node = _next(result.graph, opset)
        if node is not None:
            changed = True
            _inline(result.graph, *node)
            constants_to_initializers(result.graph)
        elif not _has_if(result.graph) or not _settle(result.graph, opset):
            return result if changed else model
        del result.graph.value_info[:]
        result = infer(result)  # conditions further on may be of shapes that are known now


def _has_if(graph: GraphProto) -> bool:
    return any(node.op_type == "If" for node in graph.node)


def _settle(graph: GraphProto, opset: int) -> bool:
    """Put values that are known in the place of what computes them, so that shapes can be inferred through a Pad or a
    Reshape that takes them. Returns whether there were any."""
    known = _Known(graph, opset)
    settled = {
        node.output[0]: value
        for node in graph.node
        if len(node.output) == 1 and (value := known.value(node.output[0])) is not None and value.size <= _MOST_VALUES
    }
    kept = [node for node in graph.node if node.output[0] not in settled]
    found = len(kept) < len(graph.node)
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in settled.items())
    body = [NodeProto.FromString(node.SerializeToString()) for node in kept]
    del graph.node[:]
    graph.node.extend(body)
    return found


def _next(graph: GraphProto, opset: int) -> tuple[NodeProto, GraphProto] | None:
    known = _Known(graph, opset)
    for node in graph.node:
        if node.op_type == "If" and (condition := known.value(node.input[0])) is not None:
            branch = attribute_of(node, "then_branch" if bool(condition.reshape(-1)[0]) else "else_branch")
            assert branch is not None
            return node, branch.g
    return None


class _Known:
    """Values that depend on constants alone, and on shapes that are fixed."""

    def __init__(self, graph: GraphProto, opset: int) -> None:
        self._initializers = {tensor.name: tensor for tensor in graph.initializer}
        self._producers = {name: node for node in graph.node for name in node.output if name}
        self._shapes = {
            value.name: tuple(
                dim.dim_value if dim.HasField("dim_value") else 0 for dim in value.type.tensor_type.shape.dim
            )
            for value in (*graph.input, *graph.value_info)
            if value.type.tensor_type.HasField("shape")
        }
        self._values: dict[str, Array | None] = {}
        self._opset = opset

    def value(self, name: str) -> Array | None:
        if name not in self._values:
            self._values[name] = None  # while it is looked for
            self._values[name] = self._find(name)
        return self._values[name]

    def _find(self, name: str) -> Array | None:
        tensor = self._initializers.get(name)
        if tensor is not None:
            return numpy_helper.to_array(tensor) if int(np.prod(tensor.dims)) <= _MOST_VALUES else None
        node = self._producers.get(name)
        if node is None or has_subgraph(node) or node.domain not in ("", "ai.onnx"):
            return None
        if node.op_type == "Shape" and not node.attribute:
            shape = self._shapes.get(node.input[0])
            return np.array(shape, np.int64) if shape is not None and all(shape) else None
        feeds = {each: self.value(each) for each in node.input if each}
        if any(value is None for value in feeds.values()):
            return None
        try:
            found: Any = ReferenceEvaluator(node, opsets={"": self._opset}).run(None, feeds)
        except Exception:  # noqa: BLE001  (an operator that it cannot run: the If stays, and runs as it is)
            return None
        return np.asarray(found[list(node.output).index(name)])


def _inline(graph: GraphProto, node: NodeProto, branch: GraphProto) -> None:
    """Put a branch in the place of its If, under names that no other branch uses."""
    inner = GraphProto()
    inner.CopyFrom(branch)
    prefix = f"{node.name}/{inner.name or 'branch'}/"
    own = [name for each in inner.node for name in each.output if name] + [each.name for each in inner.initializer]
    outputs = dict(zip((value.name for value in inner.output), node.output, strict=True))
    for name in dict.fromkeys(own):
        new = outputs.get(name, prefix + name)
        rename_uses(inner, name, new)
        for each in inner.node:
            each.output[:] = [new if output == name else output for output in each.output]
            _rename_results(each, name, new)
        for tensor in inner.initializer:
            tensor.name = new if tensor.name == name else tensor.name
    for each in inner.node:
        each.name = prefix + each.name
    # A branch that hands out what it did not make, or one tensor twice.
    made = {name for each in inner.node for name in each.output} | {tensor.name for tensor in inner.initializer}
    passed = [
        NodeProto(
            op_type="Identity", name=f"{prefix}pass_{index}", input=[outputs.get(value.name, value.name)], output=[out]
        )
        for index, (value, out) in enumerate(zip(inner.output, node.output, strict=True))
        if out not in made
    ]
    at = next(index for index, each in enumerate(graph.node) if each.name == node.name)
    body = [*graph.node[:at], *inner.node, *passed, *graph.node[at + 1 :]]
    kept = [NodeProto.FromString(each.SerializeToString()) for each in body]
    del graph.node[:]
    graph.node.extend(kept)
    graph.initializer.extend(inner.initializer)


def _rename_results(node: NodeProto, old: str, new: str) -> None:
    """A graph inside a node may hand out a tensor of the graph around it as its result."""
    for inner in subgraphs(node):
        for value in inner.output:
            made = any(value.name in each.output for each in inner.node)
            if value.name == old and not made:
                value.name = new
        for each in inner.node:
            _rename_results(each, old, new)
