"""Inputs of a model that are composed of the engine's inputs, and tails that are kept, as ONNX nodes.

All of it is float32 whatever the model's precision, and uses standard operators that ONNX Runtime and TensorRT take:
Reshape, Gather, Sub, Clip, Mul, Concat, ReduceSum, Sqrt, Div, Slice. No MatMul, which GPUs may round to TF32.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, helper

from runtime.contract.engine.build import TensorSpec
from runtime.contract.engine.model_front import ObservationPart, ObservationSpec, StateSpec
from runtime.contract.node.inputs import size_of
from runtime.engines.errors import EngineError
from runtime.engines.graph.nodes import all_graphs, rename_uses
from runtime.engines.graph.normalize import MIN_OPSET
from runtime.engines.graph.part import Part

IR_VERSION = 8
SUFFIX = "observation"
"""Nodes of an observation are called ``<tensor>/observation/…``."""
_GRAVITY_LEFT = np.array([0, 3, 0, 0, 1, 3, 0, 0, 2, 3, 0, 1], np.int64)
_GRAVITY_RIGHT = np.array([2, 1, 0, 0, 2, 0, 0, 0, 2, 3, 0, 1], np.int64)
_GRAVITY_SIGNS = np.array([-2, 2, 0, 0, -2, -2, 0, 0, -1, -1, 1, 1], np.float32)
"""Products of a unit quaternion (x y z w) whose sums, four each, are R^T (0, 0, -1): the last row of R, negated."""


def sources_of(observations: Iterable[ObservationSpec], state: Iterable[StateSpec]) -> set[str]:
    """Return the names of what observations and tails are made of."""
    named = {part.input for each in observations for part in each.parts if part.input}
    return named | {spec.tail_of for spec in state if spec.tail_of}


def core_inputs(
    model: ModelProto, inputs: Sequence[TensorSpec], observations: Sequence[ObservationSpec], state: Sequence[StateSpec]
) -> tuple[TensorSpec, ...]:
    """Return the inputs of the model itself, where the engine has ``inputs``."""
    own = {value.name for value in model.graph.input}
    sources, composed = sources_of(observations, state), {each.name for each in observations}
    direct = [spec for spec in inputs if spec.name not in composed and (spec.name in own or spec.name not in sources)]
    return (*direct, *(TensorSpec(each.name, each.shape) for each in observations))


def compose(
    model: ModelProto, inputs: Sequence[TensorSpec], observations: Sequence[ObservationSpec], state: Sequence[StateSpec]
) -> None:
    """Put observations and tails into a graph, in place; ``inputs``: all that the engine takes, in order.

    Raises EngineError where one of their names is a tensor of the model's own.
    """
    graph = model.graph
    composition = _Composition(inputs)
    own = {value.name: value for value in graph.input}
    taken = _names_inside(graph) - own.keys()
    for spec in inputs:
        if spec.name in taken:
            raise EngineError(
                "bad-model",
                f"the model has a tensor {spec.name!r} of its own, so no input of observations can be called so",
                "give the input another name",
            )
    for each in observations:
        composed = composition.observation(each)
        rename_uses(graph, each.name, composed)
        graph.value_info.append(helper.make_tensor_value_info(composed, TensorProto.FLOAT, each.shape))
    graph.output.extend(composition.tail(spec) for spec in state if spec.tail_of)
    kept = [own.get(spec.name) or _value(spec) for spec in inputs]
    del graph.input[:]
    graph.input.extend(kept)
    graph.initializer.extend(composition.initializers)
    body = [*composition.nodes, *graph.node]
    del graph.node[:]
    graph.node.extend(body)


def compose_model(
    inputs: Sequence[TensorSpec], observations: Sequence[ObservationSpec], state: Sequence[StateSpec]
) -> ModelProto | None:
    """Return a model that is the composition alone: observations and tails, by their names; None where there are none.

    Its inputs are the sources, as the engine takes them.
    """
    sources = sources_of(observations, state) - {each.name for each in observations}
    given = [spec for spec in inputs if spec.name in sources]
    if not given and not observations:
        return None
    composition = _Composition(inputs)
    outputs = []
    for each in observations:
        composed = composition.observation(each)
        composition.nodes.append(helper.make_node("Identity", [composed], [each.name]))
        outputs.append(helper.make_tensor_value_info(each.name, TensorProto.FLOAT, each.shape))
    outputs += [composition.tail(spec) for spec in state if spec.tail_of]
    graph = helper.make_graph(
        composition.nodes, "compose", [_value(spec) for spec in given], outputs, composition.initializers
    )
    model: ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", MIN_OPSET)])
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model)
    return model


def _value(spec: TensorSpec) -> ValueInfoProto:
    element = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
    value: ValueInfoProto = helper.make_tensor_value_info(spec.name, element, spec.shape)
    return value


def _names_inside(graph: GraphProto) -> set[str]:
    names: set[str] = set()
    for each in all_graphs(graph):
        names.update(name for node in each.node for name in node.output)
        names.update(tensor.name for tensor in each.initializer)
        names.update(value.name for value in each.input)
    return names


class _Composition:
    """Collects the nodes of all observations and tails of one model."""

    def __init__(self, inputs: Sequence[TensorSpec]) -> None:
        self._inputs = {spec.name: spec for spec in inputs}
        self._composed: dict[str, tuple[str, int]] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[TensorProto] = []

    def observation(self, spec: ObservationSpec) -> str:
        """Add the nodes of one observation; return the tensor's name. Raises EngineError for parts that do not fit."""
        part = Part(f"{spec.name}/{SUFFIX}")
        values = [self._part(part, each, spec.name) for each in spec.parts]
        joined = part.add("Concat", [name for name, _ in values], axis=0) if len(values) > 1 else values[0][0]
        size = sum(count for _, count in values)
        if size != size_of(spec.shape):
            raise _misfit(spec.name, f"its parts are {size} values, and {list(spec.shape)} takes {size_of(spec.shape)}")
        joined = _clipped(part, joined, spec.clip)
        shape = part.constant("shape", np.asarray(spec.shape, np.int64))
        part.add("Reshape", [joined, shape], output=part.output)
        self._take(part)
        self._composed[spec.name] = (part.output, size)
        return part.output

    def tail(self, spec: StateSpec) -> ValueInfoProto:
        """Add an output that is the last values of an input or of an observation. Raises EngineError."""
        part = Part(f"{spec.input}/tail")
        shape = spec.shape or ()
        if spec.tail_of in self._composed:
            composed, size = self._composed[spec.tail_of]
            source = part.add("Reshape", [composed, part.constant("flat", np.array([-1], np.int64))])
        else:
            source, size = self._flat(part, spec.tail_of, spec.input)
        if size < size_of(shape):
            raise _misfit(spec.input, f"it keeps {size_of(shape)} values of {spec.tail_of!r}, which has {size}")
        ends = [
            part.constant(name, np.array([at], np.int64))
            for name, at in (("from", size - size_of(shape)), ("to", size))
        ]
        last = part.add("Slice", [source, *ends, part.constant("axis", np.array([0], np.int64))])
        part.add("Reshape", [last, part.constant("shape", np.asarray(shape, np.int64))], output=spec.kept)
        self._take(part)
        value: ValueInfoProto = helper.make_tensor_value_info(spec.kept, TensorProto.FLOAT, shape)
        return value

    def _take(self, part: Part) -> None:
        self.nodes += part.nodes
        self.initializers += part.initializers

    def _part(self, part: Part, each: ObservationPart, name: str) -> tuple[str, int]:
        """Return one part's tensor, flat, and how many values it has."""
        if not each.input:
            return part.constant("constant", np.asarray(each.constant, np.float32)), len(each.constant)
        value, size = self._flat(part, each.input, name)
        if each.at:
            if not all(0 <= index < size for index in each.at):
                raise _misfit(name, f"it takes value {max(each.at)} of {each.input!r}, which has {size}")
            value, size = (
                part.add("Gather", [value, part.constant("at", np.asarray(each.at, np.int64))], axis=0),
                len(each.at),
            )
        if each.projected_gravity:
            if size != 4:
                raise _misfit(name, f"projected_gravity needs a quaternion, and {each.input!r} gives {size} values")
            value, size = _gravity(part, value), 3
        if each.subtract:
            value = part.add("Sub", [value, part.constant("subtract", _numbers(name, each.subtract, size))])
        value = _clipped(part, value, each.clip)
        if each.scale:
            value = part.add("Mul", [value, part.constant("scale", _numbers(name, each.scale, size))])
        return value, size

    def _flat(self, part: Part, source: str, name: str) -> tuple[str, int]:
        spec = self._inputs.get(source)
        if spec is None or spec.preprocess is not None:
            what = "there is no such input" if spec is None else "that is an image"
            raise _misfit(name, f"it is made of {source!r}, but {what}")
        value = source if spec.dtype == "float32" else part.add("Cast", [source], to=TensorProto.FLOAT)
        return part.add("Reshape", [value, part.constant("flat", np.array([-1], np.int64))]), size_of(spec.shape)


def _gravity(part: Part, quaternion: str) -> str:
    """Return the direction of gravity in the body's frame, of a quaternion that need not be of unit length."""
    square = part.add("Mul", [quaternion, quaternion])
    axis = part.constant("axis", np.array([0], np.int64))
    length = part.add("Sqrt", [part.add("ReduceSum", [square, axis], keepdims=1)])
    unit = part.add("Div", [quaternion, length])
    left = part.add("Gather", [unit, part.constant("left", _GRAVITY_LEFT)], axis=0)
    right = part.add("Gather", [unit, part.constant("right", _GRAVITY_RIGHT)], axis=0)
    product = part.add("Mul", [part.add("Mul", [left, right]), part.constant("signs", _GRAVITY_SIGNS)])
    rows = part.add("Reshape", [product, part.constant("rows", np.array([3, 4], np.int64))])
    return part.add("ReduceSum", [rows, part.constant("columns", np.array([1], np.int64))], keepdims=0)


def _clipped(part: Part, value: str, clip: Sequence[float]) -> str:
    if not clip:
        return value
    low, high = (
        part.constant(name, np.asarray(bound, np.float32)) for name, bound in zip(("low", "high"), clip, strict=True)
    )
    return part.add("Clip", [value, low, high])


def _numbers(name: str, values: Sequence[float], size: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    if len(values) not in (1, size):
        raise _misfit(name, f"{len(values)} numbers are given for {size} values")
    return np.asarray(values, np.float32)


def _misfit(name: str, what: str) -> EngineError:
    return EngineError("bad-model", f"{name!r}: {what}", "correct observations and state in the model's file")
