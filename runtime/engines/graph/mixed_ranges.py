"""Tensors that join values of very different ranges, which one int8 scale cannot hold.

The end of a detector is such a tensor: boxes in pixels (0 to 640) beside scores (0 to 1). One scale for both has steps
of 2.5, and every score becomes 0 or more than 1. Cosine cannot see it, as boxes hold nearly all of the norm. TensorRT's
own quantizer leaves what is not a convolution or a matrix product in float, so this concerns quantizers that do not.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import ModelProto, NodeProto, numpy_helper

from runtime.engines.graph.precision import MAIN_OPERATORS, moves

MOST_RATIO = 16.0
"""Largest range over smallest of what is joined. At 16 the smallest has 16 of the 256 steps left: four bits."""
Ranges = Mapping[str, tuple[float, float]]
"""Tensor → smallest and largest value."""
#: Operator → which inputs hold the values that it joins into one tensor; None: all of them.
_JOINS: dict[str, tuple[int, ...] | None] = {
    "Concat": None,
    "ScatterND": (0, 2),
    "ScatterElements": (0, 2),
    "Where": (1, 2),
}


def mixed_range_nodes(model: ModelProto, ranges: Ranges) -> list[str]:
    """Return the names of the nodes that must stay in float, in graph order: those that join values whose ranges
    differ more than ``MOST_RATIO``, and all that read the result up to the next convolution or matrix product.

    ``model`` is sorted, its nodes have names. A tensor without a range is left out of the comparison.
    """
    known = {**ranges, **_of_weights(model)}
    mixed: set[str] = set()
    found = []
    for node in model.graph.node:
        if node.op_type in MAIN_OPERATORS:
            continue
        _pass_on(node, known)
        if mixed.isdisjoint(node.input) and not _joins_mixed(node, known):
            continue
        found.append(node.name)
        mixed.update(name for name in node.output if name)
    return found


def _pass_on(node: NodeProto, known: dict[str, tuple[float, float]]) -> None:
    """Give a result that was not measured the range of what it is joined or moved from."""
    if not node.output or node.output[0] in known or not moves(node.op_type):
        return
    pairs = [known[name] for name in _data(node) if name in known]
    if pairs:
        known[node.output[0]] = (min(low for low, _ in pairs), max(high for _, high in pairs))


def _data(node: NodeProto) -> list[str]:
    places = _JOINS.get(node.op_type, (0,))
    return [name for index, name in enumerate(node.input) if places is None or index in places]


def _joins_mixed(node: NodeProto, ranges: Ranges) -> bool:
    if node.op_type not in _JOINS:
        return False
    spans = [span for name in _data(node) if name in ranges and (span := _span(*ranges[name])) > 0.0]
    return len(spans) > 1 and max(spans) > MOST_RATIO * min(spans)


def _span(low: float, high: float) -> float:
    """Return what a scale must reach over: int8 scales always hold 0."""
    return max(high, 0.0) - min(low, 0.0)


def _of_weights(model: ModelProto) -> dict[str, tuple[float, float]]:
    """Return the ranges of float constants that are joined, read only where a joining node reads them."""
    joined = {name for node in model.graph.node if node.op_type in _JOINS for name in node.input}
    found = {}
    for tensor in model.graph.initializer:
        if tensor.name in joined:
            array = numpy_helper.to_array(tensor)
            if array.size and array.dtype.kind == "f":
                found[tensor.name] = (float(np.min(array)), float(np.max(array)))
    return found
