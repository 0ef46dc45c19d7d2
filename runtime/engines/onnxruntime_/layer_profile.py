"""What ONNX Runtime ran, kernel by kernel: types and times out of its profile, tensors out of its optimized graph."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import onnx
import onnxruntime as ort
from onnx import NodeProto

from runtime.contract.json_decoder import Limits, decode
from runtime.engines.graph.nodes import all_nodes
from runtime.engines.graph.precision import Layer

#: ONNX Runtime writes one event a kernel and run, each of some hundred bytes.
_PROFILE = Limits(size=1 << 30, values=1 << 26)
_MOST_RUNS = 10
_SECONDS = 0.2


def run_again(session: ort.InferenceSession, feeds: Mapping[str, Any]) -> None:
    """Run what ran once already, for the profile: a kernel's first run allocates, and says little of its time."""
    end = time.perf_counter() + _SECONDS
    for _ in range(_MOST_RUNS):
        session.run(None, dict(feeds))
        if time.perf_counter() > end:
            break


def layers_in(profile: Path, optimized: Path) -> list[Layer]:
    """Return every kernel that ran, in the order in which they ran first.

    A time is the median of its runs without the first one (where there are others). Layers in the graphs of If and Loop
    have no tensors here.
    """
    found: dict[str, Layer] = {}
    times: dict[str, list[float]] = {}
    for event in decode(profile.read_bytes(), "ONNX Runtime's profile", _PROFILE):
        details = event.get("args", {})
        if event.get("cat") != "Node" or "op_name" not in details or "input_type_shape" not in details:
            continue
        name = event["name"].removesuffix("_kernel_time")
        times.setdefault(name, []).append(float(event.get("dur", 0)) / 1e3)
        if name not in found:
            found[name] = Layer(
                details["op_name"], _types(details["input_type_shape"]), name,
                _types(details.get("output_type_shape", ())),
            )  # fmt: skip
    nodes = _nodes(optimized)
    return [_whole(layer, times[name], nodes.get(name)) for name, layer in found.items()]


def _types(shapes: Any) -> tuple[str, ...]:
    return tuple(kind for item in shapes for kind in item)


def _nodes(optimized: Path) -> dict[str, tuple[NodeProto, frozenset[str]]]:
    """Return the optimized graph's nodes by name, each with what its graph holds as constants."""
    if not optimized.is_file():  # the optimizer was left out, see open_session
        return {}
    graph = onnx.load(str(optimized), load_external_data=False).graph
    constants = frozenset(tensor.name for tensor in graph.initializer)
    return {node.name: (node, constants) for node in all_nodes(graph) if node.name}


def _whole(layer: Layer, times: list[float], node: tuple[NodeProto, frozenset[str]] | None) -> Layer:
    layer = replace(layer, ms=median(times[1:] or times))
    if node is None:
        return layer
    reads = tuple(name for name in node[0].input if name and name not in node[1])
    return replace(layer, reads=reads, writes=tuple(name for name in node[0].output if name))
