"""Which nodes change their precision together: a convolution or matrix product, and what follows it up to the next.

An activation left in float after a convolution at int8 costs two conversions and gains nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from onnx import GraphProto

from runtime.contract.engine.tuning import Region
from runtime.engines.graph.precision import MAIN_OPERATORS

_MAIN = frozenset({*MAIN_OPERATORS, "LSTM", "GRU", "RNN"})


def regions_of(graph: GraphProto, changed: Collection[str]) -> list[Region]:
    """Return the regions of the nodes ``changed``, in the graph's order. Nodes stand in the order in which they run."""
    made_in: dict[str, int] = {}
    names: list[str] = [""]
    members: dict[int, list[str]] = {}
    for node in graph.node:
        if node.op_type in _MAIN:
            names.append(node.name)
            place = len(names) - 1
        else:  # what joins several regions belongs to the last of them
            place = max((made_in.get(name, 0) for name in node.input), default=0)
        for output in node.output:
            made_in[output] = place
        if node.name in changed:
            members.setdefault(place, []).append(node.name)
    return [Region(_name(names[place], nodes), tuple(nodes)) for place, nodes in sorted(members.items())]


def _name(main: str, nodes: Sequence[str]) -> str:
    return main if main in nodes else nodes[0]


def timed(regions: Sequence[Region], layers: Sequence[tuple[Sequence[str], float]]) -> list[Region]:
    """Return the regions with the milliseconds of their layers: (ONNX nodes, milliseconds), as an engine ran them.

    A layer that leads back to no node of a region is left out.
    """
    owner = {node: index for index, region in enumerate(regions) for node in region.nodes}
    spent: dict[int, float] = {}
    for nodes, milliseconds in layers:
        found = {owner[node] for node in nodes if node in owner}
        for index in found:
            spent[index] = spent.get(index, 0.0) + milliseconds / len(found)
    return [
        Region(region.name, region.nodes, region.severity, spent.get(index)) for index, region in enumerate(regions)
    ]
