"""Operators and nodes that a model leaves at a higher precision: they must be there to be left.

The builder folds the graph first, and names some nodes again; it has the last word. What is refused here cannot be in
any graph that comes of this file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from fleet.manifest.files.onnx_graph import Graph
from fleet.manifest.schema.manifest_schema import Model
from fleet.manifest.yaml.explain import did_you_mean
from fleet.manifest.yaml.report import Report, SourceFile
from fleet.manifest.yaml.yaml_text import KeyPath

#: What folding makes of operators that the file has.
_FOLDED = {"Gemm": {"MatMul"}}
_NUMBERED = re.compile(r"([A-Za-z]+)_\d+")


def check_precision_exclusions(model: Model, graph: Graph, source: SourceFile, report: Report) -> None:
    """Note operators and nodes named under ``precisions`` that the ONNX file does not have."""
    fp16, int8 = model.precisions.fp16, model.precisions.int8
    named: list[tuple[KeyPath, Sequence[str], bool]] = [
        (("precisions", "fp16", "keep_fp32_ops"), fp16.keep_fp32_ops, True),
        (("precisions", "fp16", "keep_fp32_nodes"), fp16.keep_fp32_nodes, False),
    ]
    if int8 is not None:
        named += [
            (("precisions", "int8", "exclude_ops"), int8.exclude_ops, True),
            (("precisions", "int8", "exclude_nodes"), int8.exclude_nodes, False),
        ]
    for at, names, operators in named:
        for index, name in enumerate(names):
            if operators and not _is_operator(name, graph.operators):
                message = f"the ONNX file has no operator {name}"
                report.add(source, (*at, index), message, did_you_mean(name, graph.operators))
            elif not operators and not _is_node(name, graph):
                report.add(source, (*at, index), f"the ONNX file has no node {name}", did_you_mean(name, graph.nodes))


def _is_operator(name: str, present: Iterable[str]) -> bool:
    there = set(present)
    return name in there or bool(_FOLDED.get(name, set()) & there)


def _is_node(name: str, graph: Graph) -> bool:
    """Fused nodes are called after one that they are made of; nameless ones by operator and number."""
    if name in graph.nodes or any(name.startswith((f"{node}/", f"{node}_")) for node in graph.nodes):
        return True
    numbered = _NUMBERED.fullmatch(name)
    return numbered is not None and graph.nameless and _is_operator(numbered.group(1), graph.operators)
