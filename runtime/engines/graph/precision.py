"""What really runs at which precision, and whether an engine may call itself fp16 or int8."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from runtime.engines.errors import EngineError

#: They move, convert or name values and compute nothing: no part of a precision count.
_MOVES = frozenset(
    {"Cast", "CastLike", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Constant", "ConstantOfShape",
     "Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Expand", "Concat", "Split", "Slice",
     "Gather", "GatherElements", "GatherND", "ScatterElements", "ScatterND", "Pad", "Tile", "Shape", "Size", "Range",
     "DepthToSpace", "SpaceToDepth", "ReorderInput", "ReorderOutput", "Where", "If", "Loop", "Scan", "Dropout"}
)  # fmt: skip
#: Operators that hold nearly all the work of a network, in every form that an optimizer gives them.
MAIN_OPERATORS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
#: Element types that hold numbers, as runtimes spell them → the precision's name here.
_NAMES = {
    "float": "fp32",
    "float32": "fp32",
    "float16": "fp16",
    "double": "fp64",
    "int8": "int8",
    "uint8": "int8",
}


@dataclass(frozen=True)
class Layer:
    """One operator that ran."""

    operator: str
    """As the runtime calls it, after its optimizer: ``Conv``, ``QLinearConv``."""
    input_types: tuple[str, ...]
    """Element types of its inputs, in order."""
    name: str = ""
    output_types: tuple[str, ...] = ()
    ms: float | None = None
    """Milliseconds of one inference; None: not measured."""
    reads: tuple[str, ...] = ()
    """Tensors that other layers or the frame give it."""
    writes: tuple[str, ...] = ()


def count_precisions(layers: Iterable[Layer]) -> tuple[dict[str, int], dict[str, int]]:
    """Return (all computing layers, convolutions and matrix products) by the precision of what they read.

    ``layers`` are those that really ran, after the runtime's own optimizer: a Q/DQ pair that was not fused into its
    operator leaves an fp32 operator, and is counted as one.
    """
    every: Counter[str] = Counter()
    main: Counter[str] = Counter()
    for layer in layers:
        precision = _precision(layer)
        if layer.operator in _MOVES or precision is None:
            continue
        every[precision] += 1
        if _is_main(layer.operator):
            main[precision] += 1
    return dict(sorted(every.items())), dict(sorted(main.items()))


def layer_rows(layers: Iterable[Layer]) -> list[dict[str, Any]]:
    """Return layers as a report's ``extra["layers"]`` lists them; no precision where a layer only moves values."""
    return [
        {
            "name": layer.name,
            "kind": layer.operator,
            "precision": None if layer.operator in _MOVES else _precision(layer),
            "ms": layer.ms,
            "reads": list(layer.reads),
            "writes": list(layer.writes),
            "formats": f"{_some(layer.input_types)} -> {_some(layer.output_types)}",
        }
        for layer in layers
    ]


def _some(types: Iterable[str]) -> str:
    return ", ".join(list(types)[:4]) or "nothing"


def moves(operator: str) -> bool:
    """Say whether an operator only moves, converts or names values."""
    return operator in _MOVES


def _is_main(operator: str) -> bool:
    bare = operator.removeprefix("QLinear").removeprefix("Fused")
    return bare in MAIN_OPERATORS or operator in (
        "MatMulInteger",
        "ConvInteger",
        "MatMulIntegerToFloat",
        "QGemm",
        "NhwcFusedConv",
    )


def _precision(layer: Layer) -> str | None:
    """Return the precision a layer computes in; None for shape and index arithmetic."""
    # QLinearConcat and QLinearAveragePool read scales before data, so the operator's name says more than its inputs.
    if layer.operator.startswith("QLinear"):
        return "int8"
    return next((_NAMES[item] for item in layer.input_types if item in _NAMES), None)


def require_precision(precision: str, main: dict[str, int], every: dict[str, int], *, allow_mixed: bool) -> None:
    """Refuse an engine whose convolutions and matrix products mostly run at another precision than it claims.

    Models without any are judged by all their computing nodes. Raises EngineError of kind ``precision``.
    """
    counts = main if sum(main.values()) else every
    total, right = sum(counts.values()), counts.get(precision, 0)
    if allow_mixed or total == 0 or 2 * right > total:
        return
    raise EngineError(
        "precision",
        f"{precision} engine: {right} of {total} {'main layers' if counts is main else 'layers'} run at {precision}, "
        f"the rest at {_others(counts, precision)}",
        "exclude fewer operators and nodes from quantization, or declare the precision that it really has",
    )


def _others(counts: dict[str, int], precision: str) -> str:
    names: Iterable[str] = (f"{name} ({count})" for name, count in counts.items() if name != precision)
    return ", ".join(names) or "none"
