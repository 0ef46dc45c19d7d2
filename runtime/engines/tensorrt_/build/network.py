"""An ONNX graph → a TensorRT network, with parser errors in words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.engines.errors import EngineError
from runtime.engines.tensorrt_.capabilities import Capabilities
from runtime.engines.tensorrt_.log import LogKeeper

if TYPE_CHECKING:
    import tensorrt as trt

_MOST_SHOWN = 3


def creation_flags(capabilities: Capabilities, *, strongly_typed: bool) -> int:
    """Return the bits that a network is created with."""
    import tensorrt as trt

    flags = 0
    if capabilities.explicit_batch_flag:
        flags |= 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
    if strongly_typed:
        flags |= 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    return flags


def parse(
    builder: trt.Builder, graph: Path, flags: int, logger: trt.ILogger, keeper: LogKeeper
) -> tuple[trt.INetworkDefinition, trt.OnnxParser]:
    """Return the network and its parser, which must live as long (it holds the weights). Raises EngineError."""
    import tensorrt as trt

    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, logger)
    parsed: Any = parser.parse(graph.read_bytes())  # its stub says `bool` and means trt.bool, an element type
    if not parsed:
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        raise parse_error(errors, keeper.errors, _nodes(graph))
    if network.num_outputs == 0:
        raise EngineError("bad-model", "TensorRT finds no output in the model", "name the model's outputs")
    return network, parser


def _nodes(graph: Path) -> list[tuple[str, str]]:
    """Return (name, operator) of every node: TensorRT 8 says only which number a node has."""
    import onnx

    model = onnx.load(str(graph), load_external_data=False)
    return [(node.name, node.op_type) for node in model.graph.node]


def parse_error(errors: list[Any], logged: list[str], nodes: list[tuple[str, str]]) -> EngineError:
    """Return one error for what the parser (``ParserError`` values) and the log say."""
    import tensorrt as trt

    detail = "\n".join([*(str(item) for item in errors), *logged])
    if not errors:
        said = logged[0] if logged else "it does not say why"
        return EngineError("bad-model", f"TensorRT cannot read the model: {said}", _EXPORT_AGAIN, detail=detail)
    parts = [_where(item, nodes) for item in errors[:_MOST_SHOWN]]
    more = f" and {len(errors) - _MOST_SHOWN} more" if len(errors) > _MOST_SHOWN else ""
    unsupported = any(item.code() == trt.ErrorCode.UNSUPPORTED_NODE for item in errors) or _names_no_operator(detail)
    version = trt.__version__
    message = f"TensorRT {version} cannot take {'; '.join(parts)}{more}"
    if unsupported:
        hint = (
            "replace the operator when exporting the model (standard ONNX operators, opset 17 or older), "
            "or cut the model before it and name an earlier output"
        )
        return EngineError("unsupported", message, hint, detail=detail)
    return EngineError("bad-model", message, _EXPORT_AGAIN, detail=detail)


_EXPORT_AGAIN = "export the model again with fixed shapes and standard operators, opset 17 or older"


def _names_no_operator(detail: str) -> bool:
    return "No importer registered" in detail or "Plugin not found" in detail


def _where(error: Any, nodes: list[tuple[str, str]]) -> str:
    """Return ``node 'x' (Operator): reason``. Newer parsers name the node, older ones give its number."""
    number = int(error.node())
    name, operator = nodes[number] if 0 <= number < len(nodes) else (str(number), "")
    if hasattr(error, "node_name"):
        name, operator = error.node_name() or name, error.node_operator() or operator
    reason = " ".join(error.desc().split())
    return f"node {name!r}{f' ({operator})' if operator else ''}: {reason[:200]}"


def hold_at_fp32(network: trt.INetworkDefinition, nodes: tuple[str, ...]) -> int:
    """Hold the layers of the ONNX nodes ``nodes`` at fp32 (8.x); return how many layers that were.

    A name that ends in ``/`` stands for every node below it. Layers that handle no floating point are left alone.
    """
    import tensorrt as trt

    held = 0
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if not _belongs(layer.name, nodes) or not _computes_float(layer):
            continue
        layer.precision = trt.DataType.FLOAT
        for output in range(layer.num_outputs):
            layer.set_output_type(output, trt.DataType.FLOAT)
        held += 1
    return held


def _belongs(layer: str, nodes: tuple[str, ...]) -> bool:
    return any(layer.startswith(name) if name.endswith("/") else layer == name for name in nodes)


def _computes_float(layer: trt.ILayer) -> bool:
    import tensorrt as trt

    floats = (trt.DataType.FLOAT, trt.DataType.HALF)
    if layer.type in (trt.LayerType.CONSTANT, trt.LayerType.SHAPE) or layer.num_outputs == 0:
        return False
    return all(layer.get_output(index).dtype in floats for index in range(layer.num_outputs))
