"""Ranges of an input's shapes: what may have one, and what a range must be."""

from __future__ import annotations

from collections.abc import Iterator

from fleet.manifest.files.onnx_graph import Tensor
from fleet.manifest.schema.manifest_schema import Model, ModelInput
from fleet.manifest.yaml.report import Report, SourceFile
from runtime.contract.node.inputs import read_input_options, shape_problem


def check_range(value: ModelInput, index: int, source: SourceFile, report: Report) -> None:
    """Note what is wrong with the range of an input whose form and ``shape`` are right."""
    for key, message, hint in _problems(value):
        report.add(source, ("inputs", index, "shape_range", *key), message, hint)


def why_not_open(value: ModelInput, tensor: Tensor) -> tuple[str, str] | None:
    """Return message and hint when the ONNX file fixes a dimension that has a range; None when none is fixed.

    Not of the batch, which has none: `check_range`.
    """
    sizes = tensor.shape or ()
    held = [at for at in free_dimensions(value) if at and at < len(sizes) and sizes[at] is not None]
    if not held:
        return None
    message = f"a range in dimension {held[0]}, but the ONNX file's {tensor.shown} fixes it"
    return message, "export the model with that dimension left open (dynamic axes), or give min and max its size"


def free_dimensions(value: ModelInput) -> tuple[int, ...]:
    """Return the dimensions that may have several sizes, by their index; none where the range is of another rank."""
    span = value.shape_range
    if span is None or not len(span.min) == len(value.shape) == len(span.max):
        return ()
    return tuple(index for index, (low, high) in enumerate(zip(span.min, span.max, strict=True)) if low != high)


def ranged(model: Model) -> tuple[str, ...]:
    """Return the tensors of the inputs that have a range."""
    return tuple(value.tensor for value in model.inputs if value.shape_range is not None)


def _problems(value: ModelInput) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Yield key below ``shape_range``, message and hint."""
    span, shape = value.shape_range, value.shape
    if span is None:
        return
    if value.is_image:
        message = "an image input has one shape: preprocessing is part of the engine and made for one frame size"
        yield (), message, "remove shape_range; it is for inputs that are not images"
        return
    for key, sizes in (("min", span.min), ("max", span.max)):
        if len(sizes) != len(shape):
            yield (key,), f"{list(sizes)} has {len(sizes)} dimensions, but shape {len(shape)}", f"write {len(shape)}"
            return
        if sizes[:1] != (1,) and shape[:1] == (1,):
            hint = f"write {[1, *sizes[1:]]}"
            yield (key,), f"{list(sizes)} does not begin with a batch of 1: models run on one message at a time", hint
            return
    ordered = True
    for key, smaller, larger in (("min", span.min, shape), ("max", shape, span.max)):
        if not all(low <= high for low, high in zip(smaller, larger, strict=True)):
            ordered = False
            yield (key,), _disorder(value, key), "in every dimension min <= shape <= max"
    if ordered and not free_dimensions(value):
        yield (), "min and max are the same: there is no range", "remove shape_range, or make max larger"
    elif ordered:
        yield from _unfillable(value, (("min", span.min), ("max", span.max)))


def _disorder(value: ModelInput, key: str) -> str:
    span, what = value.shape_range, {"min": "larger", "max": "smaller"}[key]
    return f"{list(getattr(span, key))} is {what} than shape {list(value.shape)}"


def _unfillable(
    value: ModelInput, sides: tuple[tuple[str, tuple[int, ...]], ...]
) -> Iterator[tuple[tuple[str, ...], str, str]]:
    if value.from_output is not None or value.adapter is not None:
        return
    options = read_input_options(value.type, value.options)
    for key, sizes in sides:
        for problem in shape_problem(value.type, sizes, options):
            yield (key,), problem.message, problem.hint
