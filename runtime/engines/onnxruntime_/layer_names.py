"""The ONNX node behind a layer that ran: ONNX Runtime's optimizer renames what it fuses and lays out anew.

Seen in 1.32: a convolution in blocked layout is called after its output (``relu_0_nchwc``), with
``InsertedPrecisionFreeCast_`` in front where it was half precision, one at int8 after its node with a number
(``conv1_token_74``). What cannot be led back keeps the runtime's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from onnx import ModelProto, NodeProto

from runtime.engines.graph.nodes import all_nodes
from runtime.engines.graph.precision import Layer

_MADE = re.compile(r"^InsertedPrecisionFreeCast_|(_nchwc|_token_\d+|_nhwc)$")
_MOST_FUSED = 6
"""How many nodes one layer may stand for."""


def named_by_node(layers: Iterable[Layer], model: ModelProto) -> list[Layer]:
    """Return the layers under the names of the nodes of ``model`` that they come from."""
    nodes = list(all_nodes(model.graph))
    names = {node.name for node in nodes}
    producers = {output: node for node in nodes for output in node.output}
    return [replace(layer, name=_name(layer, names, producers)) for layer in layers]


def _name(layer: Layer, names: set[str], producers: dict[str, NodeProto]) -> str:
    if layer.name in names:
        return layer.name
    bare = _MADE.sub("", layer.name)
    if bare in names:
        return bare
    node = producers.get(bare)
    for _ in range(_MOST_FUSED):
        if node is None:
            break
        if layer.operator.endswith(node.op_type):
            return str(node.name)
        node = producers.get(node.input[0]) if node.input else None
    return layer.name
