"""A half-precision graph as hardware with half-precision kernels runs it: rounded after every node, on any CPU.

ONNX Runtime's CPU has few such kernels: it converts weights when it loads a model and keeps fp32 between nodes, so a
square that overflows at 65504 is right there and infinite on a GPU. Here every node runs in fp32 and its result goes
through half precision. Products are accumulated in fp32, as GPUs do.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from runtime.engines.graph.nodes import attribute_of
from runtime.engines.graph.normalize import element_types, infer
from runtime.engines.graph.precision import moves

_FLOAT, _HALF = int(TensorProto.FLOAT), int(TensorProto.FLOAT16)


def rounded(model: ModelProto) -> ModelProto:
    """Return a graph of fp32 that answers as ``model`` does where float16 is really kept. Raises EngineError."""
    known = infer(model)
    types = element_types(known.graph)
    result = ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    for tensor in graph.initializer:
        if tensor.data_type == _HALF:
            wide = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))
    nodes: list[NodeProto] = []
    for node in graph.node:
        halves = [index for index, name in enumerate(node.output) if types.get(name) == _HALF]
        to = attribute_of(node, "to")
        if node.op_type == "Cast" and to is not None and to.i == _HALF:
            to.i = _FLOAT
        elif moves(node.op_type):
            halves = []
        nodes.append(node)
        for index in halves:
            name = node.output[index]
            node.output[index] = f"{name}/exact"
            nodes.append(_cast(f"{name}/exact", f"{name}/half", _HALF))
            nodes.append(_cast(f"{name}/half", name, _FLOAT))
    kept = list(nodes)
    del graph.node[:]
    graph.node.extend(kept)
    del graph.value_info[:]
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == _HALF:
            value.type.tensor_type.elem_type = _FLOAT
    return result


def _cast(source: str, target: str, to: int) -> NodeProto:
    node: NodeProto = helper.make_node("Cast", [source], [target], name=f"{target}/rounding", to=to)
    return node
