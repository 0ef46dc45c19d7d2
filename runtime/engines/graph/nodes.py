"""Walking an ONNX graph: its nodes and subgraphs, their attributes and names."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import AttributeProto, GraphProto, NodeProto

STANDARD_DOMAINS = ("", "ai.onnx")


def all_graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """Yield a graph, and every graph inside its nodes (If, Loop, Scan)."""
    yield graph
    for node in graph.node:
        for inner in subgraphs(node):
            yield from all_graphs(inner)


def all_nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """Yield every node, those of subgraphs included."""
    for each in all_graphs(graph):
        yield from each.node


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """Yield the graphs that a node holds."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def has_subgraph(node: NodeProto) -> bool:
    """Say whether a node holds graphs."""
    return any(item.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for item in node.attribute)


def captured(graph: GraphProto) -> set[str]:
    """Return the names of a graph's tensors that graphs inside its nodes read."""
    names = {name for node in graph.node for inner in subgraphs(node) for name in _free(inner)}
    return names - {""}


def _free(graph: GraphProto) -> set[str]:
    """Return what a graph reads and does not make itself."""
    own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    own.update(name for node in graph.node for name in node.output)
    read = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    inner = {name for node in graph.node for each in subgraphs(node) for name in _free(each)}
    return (read | inner) - own


def attribute_of(node: NodeProto, name: str) -> AttributeProto | None:
    """Return an attribute by its name, None where the node does not give it."""
    return next((item for item in node.attribute if item.name == name), None)


def name_nodes(graph: GraphProto) -> None:
    """Give nameless nodes, and those whose name another node has, the name ``<operator>_<index>``, so that options and
    reports can name them."""
    taken = {node.name for node in graph.node if node.name}
    seen: set[str] = set()
    for index, node in enumerate(graph.node):
        if not node.name or node.name in seen:
            name = f"{node.op_type}_{index}"
            node.name = name if name not in taken else f"{name}_{len(graph.node)}"
        seen.add(node.name)


def rename_uses(graph: GraphProto, old: str, new: str) -> None:
    """Make every node, those of subgraphs included, read ``new`` where it read ``old``."""
    for node in all_nodes(graph):
        for index, name in enumerate(node.input):
            if name == old:
                node.input[index] = new
