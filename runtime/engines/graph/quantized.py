"""Models that somebody quantized already: which kind, and what may be made of them."""

from __future__ import annotations

from onnx import ModelProto, TensorProto

from runtime.contract.engine.build import Int8Options
from runtime.engines.errors import EngineError
from runtime.engines.graph.nodes import all_nodes, attribute_of

FLOAT, PAIRS, OPERATORS, DYNAMIC = "float", "Q/DQ pairs", "quantized operators", "dynamic quantization"
_INTEGER = frozenset({"ConvInteger", "MatMulInteger"})
_EIGHT_BITS = frozenset({TensorProto.INT8, TensorProto.UINT8})


def quantization_of(model: ModelProto) -> str:
    """Return how a model is quantized: FLOAT, PAIRS, OPERATORS or DYNAMIC.

    Weights stored as integers and taken back to float (DequantizeLinear alone) compute in float: FLOAT.
    """
    operators = {node.op_type for node in all_nodes(model.graph)}
    if "DynamicQuantizeLinear" in operators:
        return DYNAMIC
    if operators & _INTEGER or any(name.startswith("QLinear") for name in operators):
        return OPERATORS
    return PAIRS if "QuantizeLinear" in operators else FLOAT


def check_quantized(model: ModelProto, precision: str, options: Int8Options) -> str:
    """Return :func:`quantization_of` of a model that can be built at ``precision``. Raises EngineError.

    A model of Q/DQ pairs is an int8 one, with the scales that it carries. Integer operators belong to ONNX Runtime
    alone, and no backend takes them back to something that it could choose kernels for.
    """
    found = quantization_of(model)
    if found == FLOAT:
        return found
    if found != PAIRS:
        raise EngineError(
            "unsupported",
            f"the model is quantized already, by {found} ({_some(model)}), which no engine is built from",
            "give the float model with calibration data; or quantize it to Q/DQ pairs (quant_format=QuantFormat.QDQ)",
        )
    if precision != "int8":
        raise EngineError(
            "unsupported",
            f"the model is quantized already (Q/DQ pairs): an engine called {precision} would answer like an int8 one",
            f"declare precision int8, or give the float model for {precision}",
        )
    other = _other_than_eight_bits(model)
    if other:
        raise EngineError(
            "unsupported",
            f"the model is quantized to {other}, and engines here are int8",
            "quantize it to int8, or give the float model",
        )
    if options.exclude_ops or options.exclude_nodes:
        raise EngineError(
            "calibration",
            "int8.exclude_ops or exclude_nodes is given, and the model carries its own scales: nothing is chosen here",
            "leave them out, and exclude those nodes where the model is quantized; or give the float model",
        )
    return found


def _some(model: ModelProto) -> str:
    names = (node.op_type for node in all_nodes(model.graph))
    return next(n for n in names if n == "DynamicQuantizeLinear" or n in _INTEGER or n.startswith("QLinear"))


def _other_than_eight_bits(model: ModelProto) -> str:
    """Return the first element type of a quantized tensor that is not 8 bits wide; empty when all are."""
    constants = {tensor.name: int(tensor.data_type) for tensor in model.graph.initializer}
    for node in all_nodes(model.graph):
        if node.op_type != "QuantizeLinear":
            continue
        given = attribute_of(node, "output_dtype")
        element = given.i if given is not None and given.i else TensorProto.UINT8
        if len(node.input) > 2 and node.input[2]:
            element = constants.get(node.input[2], TensorProto.INT8)
        if element not in _EIGHT_BITS:
            return str(TensorProto.DataType.Name(element)).lower()
    return ""
