"""States and observations against the ONNX file: what is kept is what is taken, and observations fit."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.manifest.files.onnx_graph import Graph, Tensor
from fleet.manifest.schema.manifest_schema import Model
from fleet.manifest.schema.model_schema import ModelState
from fleet.manifest.yaml.explain import did_you_mean
from fleet.manifest.yaml.report import Report, SourceFile

_BOUNDS = {
    "int8": (-(2**7), 2**7 - 1),
    "int16": (-(2**15), 2**15 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint8": (0, 2**8 - 1),
    "bool": (0, 1),
}


def check_front_tensors(model: Model, graph: Graph, source: SourceFile, report: Report) -> None:
    """Note states and observations that are not those of the graph."""
    composed = {part.input for each in model.observations for part in each.parts if part.input}
    for index, value in enumerate(model.state):
        for key, message, hint in _state_problems(value, graph, composed):
            report.add(source, ("state", index, *key), message, hint)
    for index, each in enumerate(model.observations):
        tensor = graph.inputs.get(each.tensor)
        at = ("observations", index)
        if tensor is None:
            hint = did_you_mean(each.tensor, graph.inputs)
            report.add(source, (*at, "tensor"), f"the ONNX file has no input {each.tensor}", hint)
        elif tensor.dtype != "float32":
            hint = "export the model with a float32 input"
            report.add(source, (*at, "tensor"), f"input {each.tensor} is {tensor.dtype}, not float32", hint)
        elif not tensor.accepts(each.shape):
            message = f"{list(each.shape)} does not fit the ONNX file's {tensor.shown}"
            report.add(source, (*at, "shape"), message, f"write a shape that fits {tensor.shown}")


def _state_problems(value: ModelState, graph: Graph, composed: set[str]) -> list[tuple[tuple[str, ...], str, str]]:
    own = graph.inputs.get(value.input)
    if own is None and value.input not in composed:
        hint = f"{did_you_mean(value.input, graph.inputs)} Other names are for parts of observations"
        return [(("input",), f"the ONNX file has no input {value.input}", hint)]
    kept = graph.outputs.get(value.output) if value.output is not None else None
    if value.output is not None and kept is None:
        hint = did_you_mean(value.output, graph.outputs)
        return [(("output",), f"the ONNX file has no output {value.output}", hint)]
    problems = [_shape_problem(value, tensor) for tensor in (own, kept) if tensor is not None]
    found = [problem for problem in problems if problem is not None]
    if not found and own is not None and kept is not None:
        found = _unlike(value, own, kept)
    return found[:1]


def _shape_problem(value: ModelState, tensor: Tensor) -> tuple[tuple[str, ...], str, str] | None:
    if value.shape is not None and not tensor.accepts(value.shape):
        message = f"{list(value.shape)} does not fit the ONNX file's {tensor.shown}"
        return ("shape",), message, "a state is taken as it is kept: correct shape, input or output"
    return None


def _unlike(value: ModelState, own: Tensor, kept: Tensor) -> list[tuple[tuple[str, ...], str, str]]:
    shape = value.shape or own.fixed
    if shape is None:
        message = f"the ONNX file leaves the shape of {value.input} open: {own.shown}"
        return [((), message, "add shape: free dimensions of a state are usually a batch, write 1 there")]
    if own.dtype != kept.dtype or not kept.accepts(shape):
        message = f"{value.input} is {own.dtype} {own.shown}, but {value.output} is {kept.dtype} {kept.shown}"
        return [(("output",), message, "a state is taken as it is kept: name the output that belongs to the input")]
    return []


def why_not_held(values: Sequence[float], dtype: str) -> str:
    """Say why a tensor of ``dtype`` cannot hold a constant's values; empty when it can."""
    if dtype not in _BOUNDS:
        return "" if dtype.startswith("float") else "no constant can be"
    low, high = _BOUNDS[dtype]
    for number in values:
        if number != int(number) or not low <= number <= high:
            return f"cannot hold {number:g}"
    return ""
