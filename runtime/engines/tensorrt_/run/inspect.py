"""What the engine inspector says of a plan: which layers run at which precision.

TensorRT's JSON holds raw control characters (hence ``strict=False``), and calls the same things differently in every
version: the type of a layer's weights is taken where it is given, else the type of what the layer reads, else the name
of the kernel. A region that TensorRT fused as a whole (Myelin, ``ForeignNode``) does not say what happens inside: it is
counted as ``fused`` and never taken as proof.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from runtime.contract.json_decoder import Limits, decode
from runtime.engines.errors import EngineError

#: A network of some thousand layers, each of some kilobytes.
_ANSWER = Limits(size=1 << 28, values=1 << 24)
_MAIN = ("convolution", "deconvolution", "fullyconnected", "matrixmultiply", "gemm", "matmul", "convactpool")
#: They move, convert or name values and compute nothing.
_MOVES = ("reformat", "noop", "constant", "shuffle", "slice", "concatenation", "copy", "identity", "shape", "cast",
          "gather", "padding", "signal", "wait", "quantize", "dequantize", "reshape", "transpose")  # fmt: skip
_NAMES = (
    (re.compile(r"\bint8\b|\bi8\b", re.IGNORECASE), "int8"),
    (re.compile(r"\bfp8\b", re.IGNORECASE), "fp8"),
    (re.compile(r"\bhalf\b|\bfp16\b|\bf16\b|float16", re.IGNORECASE), "fp16"),
    (re.compile(r"\bbf16\b|bfloat16", re.IGNORECASE), "bf16"),
    (re.compile(r"\bfloat\b|\bfp32\b|\bf32\b|\btf32\b|float32", re.IGNORECASE), "fp32"),
)
#: Of kernels' names: sm80_xmma_fprop_implicit_gemm_f16f16_f16f16_f16_nhwckrsc…
_TACTICS = ((re.compile(r"_i8i8|_int8|imma"), "int8"), (re.compile(r"_f16f16|_fp16|h16816|hmma"), "fp16"),
            (re.compile(r"_f32f32|_tf32|s1688|sgemm|scudnn"), "fp32"))  # fmt: skip
FUSED = "fused"
_ONNX_LAYER = re.compile(r"\[ONNX Layer: ([^\]]*)\]")
_MOST_FORMATS, _MOST_LETTERS = 3, 80


@dataclass(frozen=True)
class LayerFacts:
    """One layer of an engine."""

    name: str
    kind: str
    """As TensorRT calls it, lower case: ``convolution``, ``reformat`` …"""
    precision: str | None
    """None: it handles no floating point or 8-bit values, or nothing says which."""
    is_main: bool
    """A convolution or matrix product."""
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    formats: str = ""
    nodes: tuple[str, ...] = ()
    """ONNX nodes that it stands for, where the plan holds them (from 8.6 on)."""

    @property
    def moves(self) -> bool:
        """It computes nothing."""
        return any(word in self.kind for word in _MOVES) and not self.is_main


def parse_layers(text: str) -> list[LayerFacts]:
    """Read the inspector's JSON. Raises EngineError where it is not what TensorRT 8.5 to 10.16 write."""
    try:
        document = decode(text, "the engine inspector's answer", _ANSWER, strict=False)
        layers = document["Layers"]
    except (ValueError, KeyError, TypeError) as error:
        raise EngineError(
            "internal",
            f"the engine inspector's answer cannot be read: {error}",
            "this is a defect: report it with the TensorRT version",
        ) from error
    return [_layer(item) for item in layers]


def count_layers(layers: list[LayerFacts]) -> tuple[dict[str, int], dict[str, int]]:
    """Return (all computing layers, convolutions and matrix products), each by precision."""
    every: Counter[str] = Counter()
    main: Counter[str] = Counter()
    for layer in layers:
        if layer.moves or layer.precision is None:
            continue
        every[layer.precision] += 1
        if layer.is_main:
            main[layer.precision] += 1
    return dict(sorted(every.items())), dict(sorted(main.items()))


def layer_rows(layers: list[LayerFacts], times: Mapping[str, float] = MappingProxyType({})) -> list[dict[str, Any]]:
    """Return layers as a report's ``extra["layers"]`` lists them; no precision where a layer only moves values.

    ``times``: milliseconds by the layer's name, as the profiler gives them.
    """
    return [
        {
            "name": _printable(layer.name),
            "kind": layer.kind,
            "precision": None if layer.moves else layer.precision,
            "ms": times.get(layer.name),
            "reads": list(map(_printable, layer.reads)),
            "writes": list(map(_printable, layer.writes)),
            "formats": layer.formats,
            "nodes": list(map(_printable, layer.nodes)),
        }
        for layer in layers
    ]


def _printable(name: str) -> str:
    """Return a name without the control characters that TensorRT joins fused layers' names with."""
    return "".join(sign if sign.isprintable() else " " for sign in name).strip()


def others(layers: list[LayerFacts], precision: str) -> tuple[str, ...]:
    """Return the names of the main layers that do not run at ``precision``."""
    return tuple(layer.name for layer in layers if layer.is_main and layer.precision != precision)


def _layer(item: Any) -> LayerFacts:
    if not isinstance(item, dict):  # an engine built without detailed verbosity gives names alone
        return LayerFacts(str(item), "", None, is_main=False)
    name = str(item.get("Name", ""))
    tensors = {
        side: [each for each in item.get(side) or () if isinstance(each, dict)] for side in ("Inputs", "Outputs")
    }
    reads, writes = (tuple(str(each.get("Name", "")) for each in found) for found in tensors.values())
    formats = " -> ".join(", ".join(map(_format, found[:_MOST_FORMATS])) or "nothing" for found in tensors.values())
    nodes = tuple(_ONNX_LAYER.findall(str(item.get("Metadata", ""))))
    kind = f"{item.get('ParameterType') or ''} {item.get('LayerType') or ''}".strip().lower()
    is_main = any(word in kind for word in _MAIN)
    if "ForeignNode" in name and not is_main:
        return LayerFacts(name, kind, FUSED, False, reads, writes, formats, nodes)
    return LayerFacts(name, kind, _precision(item, is_main=is_main), is_main, reads, writes, formats, nodes)


def _format(tensor: dict[str, Any]) -> str:
    return str(tensor.get("Format/Datatype", "?"))[:_MOST_LETTERS]


def _precision(item: dict[str, Any], *, is_main: bool) -> str | None:
    if is_main:
        weights = item.get("Weights")
        if isinstance(weights, dict) and (found := _named(str(weights.get("Type", "")))):
            return found
    for side in ("Inputs", "Outputs"):
        for tensor in item.get(side) or ():
            if isinstance(tensor, dict) and (found := _named(str(tensor.get("Format/Datatype", "")))):
                return found
    tactic = str(item.get("TacticName", "")).lower()
    return next((name for pattern, name in _TACTICS if pattern.search(tactic)), None)


def _named(text: str) -> str | None:
    return next((name for pattern, name in _NAMES if pattern.search(text)), None)
