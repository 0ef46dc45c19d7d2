"""Which nodes change together, what they cost, and in which order they are left in float."""

from __future__ import annotations

from onnx import helper

from runtime.contract.engine.tuning import Region
from runtime.engines.build.sensitivity import Budget, Measurement
from runtime.engines.tool.tuning.rank import rank
from runtime.engines.tool.tuning.regions import regions_of, timed
from tests.unit.engines.models import conv_net, model_of


def test_what_follows_a_convolution_belongs_to_it() -> None:
    graph = conv_net(layers=3).graph
    for index, node in enumerate(graph.node):
        node.name = node.name or f"{node.op_type}_{index}"
    found = regions_of(graph, {node.name for node in graph.node})
    assert [(region.name, region.nodes[1:]) for region in found] == [
        ("conv0", ("Relu_1", "GlobalAveragePool_6")),
        ("conv1", ("Relu_3",)),
        ("conv2", ("Sigmoid_5",)),
    ]


def test_what_joins_two_belongs_to_the_later_and_what_is_not_changed_to_none() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], "first"),
        helper.make_node("MatMul", ["r", "w"], ["a"], "left"),
        helper.make_node("MatMul", ["r", "w"], ["b"], "right"),
        helper.make_node("Add", ["b", "a"], ["y"], "join"),
    ]
    model = model_of(nodes, {"x": [2, 2]}, ["y"], {"w": [[1.0, 0], [0, 1]]})
    assert [(each.name, each.nodes) for each in regions_of(model.graph, {"first", "right", "join"})] == [
        ("first", ("first",)),
        ("right", ("right", "join")),
    ]


def test_a_fused_layers_time_is_shared_by_its_regions() -> None:
    regions = [Region("a", ("a", "relu")), Region("b", ("b",)), Region("c", ("c",))]
    times = timed(regions, [(("a", "relu"), 2.0), (("a", "b"), 1.0), (("elsewhere",), 9.0)])
    assert [region.milliseconds for region in times] == [2.5, 0.5, None]


def measured(costs: dict[str, float]) -> object:
    """The gate allows a sum of 1 of what the nodes at the low precision cost."""
    calls: list[frozenset[str]] = []

    def measure(kept: frozenset[str]) -> Measurement:
        calls.append(kept)
        total = sum(cost for node, cost in costs.items() if node not in kept)
        return Measurement(1 - total / 100, total, total, total <= 1.0)

    return measure


def test_what_costs_accuracy_and_little_time_is_left_in_float_first() -> None:
    regions = [Region(name, (name,), milliseconds=time) for name, time in (("a", 8.0), ("b", 1.0), ("c", 1.0))]
    costs = {"a": 0.9, "b": 0.8, "c": 0.1}
    found = rank("int8", regions, {"a": 10.0, "b": 20.0, "c": 90.0}, measured(costs), Budget(60, 100))  # type: ignore[arg-type]
    assert [region.name for region in found.regions] == ["b", "a", "c"]
    assert found.suggested == 1
    assert [region.severity for region in found.regions] == [0.8, 0.9, 0.1]


def test_without_budget_the_noisiest_come_first_and_no_number_is_claimed() -> None:
    regions = [Region(name, (name,)) for name in "abc"]
    found = rank("int8", regions, {"a": 50.0, "b": 5.0, "c": None}, measured({}), Budget(0, 0))  # type: ignore[arg-type]
    assert [region.name for region in found.regions] == ["b", "a", "c"]
    assert found.suggested == 0
    assert "no number was found" in found.said
