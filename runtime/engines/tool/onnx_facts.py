"""What an ONNX file says of itself, as it was exported: nothing is converted, fixed or run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto, TensorProto, helper

from runtime.contract.engine.engine_facts import OnnxFacts, TensorFacts
from runtime.contract.engine.engine_tool import USAGE, Shapes
from runtime.engines.errors import EngineError
from runtime.engines.graph.nodes import all_nodes
from runtime.engines.graph.normalize import load_source, opset_of


def read_onnx(path: Path) -> OnnxFacts:
    """Return an ONNX file's facts. Raises EngineError of kind ``bad-model``."""
    return facts_of(load_source(path))


def facts_of(model: ModelProto) -> OnnxFacts:
    """Return a model's facts. Raises EngineError when it imports no operator set."""
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    nodes = list(all_nodes(graph))
    operators = Counter(
        node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}::{node.op_type}" for node in nodes
    )
    return OnnxFacts(
        opset=opset_of(model),
        ir_version=int(model.ir_version),
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        inputs=tuple(_tensor(value) for value in graph.input if value.name not in constants),
        outputs=tuple(_tensor(value) for value in graph.output),
        nodes=len(nodes),
        operators=dict(sorted(operators.items(), key=lambda item: (-item[1], item[0]))),
        weight_bytes=_weights(model),
    )


def fixed_shape(tensor: TensorFacts, given: Shapes) -> tuple[int, ...]:
    """Return the shape of one input with its free dimensions filled from ``given``; a free first one alone is 1.

    Raises EngineError ``usage`` when something stays free, or the model fixes another size.
    """
    there = tensor.shape or ()
    asked = given.get(tensor.name)
    if asked is None:
        filled = tuple(1 if index == 0 and not isinstance(size, int) else size for index, size in enumerate(there))
        if tensor.shape is None or not all(isinstance(size, int) for size in filled):
            raise EngineError(
                USAGE,
                f"input {tensor.name!r} is {shown(tensor)}: it needs a shape",
                f"give one: --shape {tensor.name}={_example(tensor)}",
            )
        return filled
    fits = tensor.shape is None or (
        len(asked) == len(there)
        and all(not isinstance(have, int) or have == want for have, want in zip(there, asked, strict=True))
    )
    if not fits:
        wanted = "x".join(map(str, asked))
        raise EngineError(
            USAGE,
            f"input {tensor.name!r} is {shown(tensor)} in the model and cannot be {wanted}",
            "leave --shape out, or give one that fits",
        )
    return asked


def check_names(given: Shapes, names: list[str]) -> None:
    """Refuse shapes for inputs that do not exist. Raises EngineError ``usage``."""
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise EngineError(USAGE, f"there is no input {unknown[0]!r}", f"the inputs are: {', '.join(names)}")


def shown(tensor: TensorFacts) -> str:
    """Return ``1x3x?x?``."""
    return "of unknown shape" if tensor.shape is None else "x".join(map(str, tensor.shape)) or "a scalar"


def _example(tensor: TensorFacts) -> str:
    if tensor.shape is None:
        return "1x3x224x224"
    usual = (1, 3, 224, 224)
    return "x".join(
        str(size if isinstance(size, int) else usual[min(index, 3)]) for index, size in enumerate(tensor.shape)
    )


def _tensor(value: onnx.ValueInfoProto) -> TensorFacts:
    kind = value.type.tensor_type
    shape: tuple[Any, ...] | None = None
    if kind.HasField("shape"):
        shape = tuple(
            dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else dim.dim_param or "?"
            for dim in kind.shape.dim
        )
    return TensorFacts(value.name, _type_name(kind.elem_type), shape)


def _type_name(element: int) -> str:
    try:
        return str(helper.tensor_dtype_to_np_dtype(element))
    except (KeyError, TypeError):  # sequences and maps have none
        return "no tensor"


def _weights(model: ModelProto) -> dict[str, int]:
    """Count bytes of initializers and constants, wherever they are in the graph."""
    found: Counter[str] = Counter()
    tensors = list(model.graph.initializer)
    for node in all_nodes(model.graph):
        tensors += [attribute.t for attribute in node.attribute if attribute.HasField("t")]
    for tensor in tensors:
        found[_type_name(tensor.data_type)] += _bytes_of(tensor)
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _bytes_of(tensor: TensorProto) -> int:
    count = 1
    for size in tensor.dims:
        count *= size
    try:
        return int(count * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
    except (KeyError, TypeError):
        return 0
