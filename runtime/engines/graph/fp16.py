"""float32 graph → float16 graph: weights and operators in half precision, inputs and outputs as they were.

What can be half precision is asked of each operator's ONNX schema rather than listed by hand, so an input that must
stay float (the scales of Resize) or an operator that has no half form is right for every opset. Operators with
subgraphs stay in fp32, and so does, under its own name, what their graphs read from outside. A cast is made once per
tensor, however many nodes read it.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, defs, helper, numpy_helper

from runtime.engines.graph.nodes import all_nodes, captured, has_subgraph
from runtime.engines.graph.normalize import element_types, infer, opset_of
from runtime.engines.graph.precision import MAIN_OPERATORS
from runtime.engines.weight_loss import WeightLoss, weight_loss

_FLOAT, _HALF = int(TensorProto.FLOAT), int(TensorProto.FLOAT16)
_MAIN = frozenset({*MAIN_OPERATORS, "LSTM", "GRU", "RNN"})
_HALF_NAME = "tensor(float16)"
#: Operators whose result's type is an attribute: they make few values, so they stay as they are.
_TYPED_BY_ATTRIBUTE = frozenset(
    {"ConstantOfShape", "EyeLike", "RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike",
     "Multinomial", "Bernoulli", "SequenceEmpty", "Constant", "Cast", "CastLike"}
)  # fmt: skip


def to_fp16(
    model: ModelProto,
    keep_fp32_ops: Collection[str] = (),
    keep_fp32_nodes: Collection[str] = (),
    losses: list[WeightLoss] | None = None,
) -> ModelProto:
    """Return ``model`` in float16 except the operator types of ``keep_fp32_ops`` and the nodes named by
    ``keep_fp32_nodes``; graph inputs and outputs keep fp32.

    Weights beyond float16's range become its largest value; what each converted weight loses is added to ``losses``.
    """
    result = ModelProto()
    result.CopyFrom(infer(model))
    half = _HalfPass(result, keep_fp32_ops, keep_fp32_nodes)
    half.run()
    if losses is not None:
        losses.extend(half.losses())
    del result.graph.value_info[:]
    return infer(result)


def halvable(model: ModelProto, keep_fp32_ops: Collection[str] = ()) -> list[str]:
    """Return the names of the nodes that :func:`to_fp16` brings to float16."""
    known = infer(model)
    half = _HalfPass(known, keep_fp32_ops, ())
    return [node.name for node in known.graph.node if half.can_be_half(node)]


def halved_main_nodes(model: ModelProto) -> tuple[int, int]:
    """Return how many convolutions, matrix products and recurrent layers of a graph read half precision, and how many
    there are, those in graphs of If and Loop included."""
    types = element_types(infer(model).graph)
    main = [node for node in all_nodes(model.graph) if node.op_type in _MAIN and "/preprocess/" not in node.name]
    return sum(any(types.get(name) == _HALF for name in node.input) for node in main), len(main)


class _HalfPass:
    def __init__(self, model: ModelProto, keep_fp32_ops: Collection[str], keep_fp32_nodes: Collection[str]) -> None:
        self.graph = model.graph
        self.opset = opset_of(model)
        self.keep = frozenset(keep_fp32_ops) | _TYPED_BY_ATTRIBUTE
        self.keep_nodes = frozenset(keep_fp32_nodes)
        self.types = element_types(self.graph)
        self.weights = {tensor.name: tensor for tensor in self.graph.initializer}
        self.nodes: list[NodeProto] = []
        self.casts: dict[tuple[str, int], str] = {}
        self.halved: dict[str, str] = {}

    def run(self) -> None:
        outputs = {value.name for value in self.graph.output} | captured(self.graph)
        for node in list(self.graph.node):
            half = node.name not in self.keep_nodes and self.can_be_half(node)
            for index, name in enumerate(node.input):
                if name and self._is_float(name):
                    node.input[index] = self._as(
                        name, _HALF if half and self._input_is_generic(node, index) else _FLOAT
                    )
            self.nodes.append(node)
            if half:
                self._halve_outputs(node, outputs)
        del self.graph.node[:]
        self.graph.node.extend(self.nodes)
        read = {name for node in self.nodes for name in node.input} | outputs
        kept = [tensor for tensor in self.weights.values() if tensor.name in read]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)

    def losses(self) -> list[WeightLoss]:
        """Return what every weight that was converted has lost, after :meth:`run`."""
        found = []
        for name, half in self.halved.items():
            readers = [node.name for node in self.nodes if half in node.input]
            before, after = (numpy_helper.to_array(self.weights[each]) for each in (name, half))
            found.append(weight_loss(name, readers, before, after))
        return found

    def _is_float(self, name: str) -> bool:
        return self.types.get(name) in (_FLOAT, _HALF)

    def can_be_half(self, node: NodeProto) -> bool:
        """Say whether the operator has a half form for all that the node reads and writes, and may take it."""
        if node.domain not in ("", "ai.onnx") or node.op_type in self.keep or has_subgraph(node):
            return False
        floats = [i for i, name in enumerate(node.input) if name and self._is_float(name)]
        if not any(self._input_is_generic(node, i) for i in floats):
            return False
        schema = defs.get_schema(node.op_type, self.opset)
        for index, name in enumerate(node.output):
            formal = schema.outputs[min(index, len(schema.outputs) - 1)]
            if name and self._is_float(name) and _HALF_NAME not in formal.types:
                return False
        return True

    def _input_is_generic(self, node: NodeProto, index: int) -> bool:
        schema = defs.get_schema(node.op_type, self.opset)
        formal = schema.inputs[min(index, len(schema.inputs) - 1)]
        return _HALF_NAME in formal.types

    def _halve_outputs(self, node: NodeProto, outputs: Collection[str]) -> None:
        for index, name in enumerate(node.output):
            if not name or self.types.get(name) != _FLOAT:
                continue
            if name not in outputs:
                self.types[name] = _HALF
                continue
            half = f"{name}/fp16"
            node.output[index] = half
            self.types[half] = _HALF
            self.nodes.append(_cast(half, name, _FLOAT))
            self.casts[(name, _HALF)] = half

    def _as(self, name: str, wanted: int) -> str:
        """Return the name of ``name``'s value as ``wanted``, adding a cast or a converted weight on first use."""
        if self.types[name] == wanted:
            return name
        known = self.casts.get((name, wanted))
        if known is not None:
            return known
        converted = f"{name}/{'fp16' if wanted == _HALF else 'fp32'}"
        if name in self.weights:
            self.weights[converted] = _converted(self.weights[name], converted, wanted)
            if wanted == _HALF:
                self.halved[name] = converted
        else:
            self.nodes.append(_cast(name, converted, wanted))
        self.types[converted] = wanted
        self.casts[(name, wanted)] = converted
        return converted


def _cast(source: str, target: str, to: int) -> NodeProto:
    node: NodeProto = helper.make_node("Cast", [source], [target], name=f"{target}/cast", to=to)
    return node


def _converted(tensor: TensorProto, name: str, wanted: int) -> TensorProto:
    array = numpy_helper.to_array(tensor)
    if wanted == _HALF:
        limit = float(np.finfo(np.float16).max)
        finite = np.where(np.isfinite(array), np.clip(array, -limit, limit), array)
        converted = finite.astype(np.float16)
    else:
        converted = array.astype(np.float32)
    result: TensorProto = numpy_helper.from_array(converted, name)
    return result
