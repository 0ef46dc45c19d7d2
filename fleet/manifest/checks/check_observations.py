"""Observations: inputs of a model that are composed of other inputs. Every part exists and fits, by its name."""

from __future__ import annotations

from collections.abc import Iterator

from fleet.manifest.schema.manifest_schema import Model
from fleet.manifest.schema.model_schema import ModelObservation, ModelObservationPart
from fleet.manifest.schema.observation_parts import PartError, part_size
from fleet.manifest.yaml.report import Report, SourceFile
from runtime.contract.node.inputs import size_of


def check_observations(model: Model, source: SourceFile, report: Report) -> None:
    """Note what does not fit together in ``observations``, and inputs that nothing uses twice over."""
    inputs = {each.tensor for each in model.inputs}
    seen: set[str] = set()
    for index, value in enumerate(model.observations):
        at = ("observations", index)
        if value.tensor in seen:
            report.add(source, (*at, "tensor"), f"{value.tensor} is named twice", "compose each input once")
        seen.add(value.tensor)
        if value.tensor in inputs:
            hint = "give the input another name: observations name inputs of the ONNX file, and inputs what feeds them"
            report.add(source, (*at, "tensor"), f"{value.tensor} is an input and an observation", hint)
        wrong = False
        for key, message, hint in _part_problems(value, model):
            wrong = True
            report.add(source, (*at, "parts", *key), message, hint)
        if not wrong:
            _check_size(value, model, at, source, report)
        _check_bounds(value, at, source, report)


def _part_problems(value: ModelObservation, model: Model) -> Iterator[tuple[tuple[int | str, ...], str, str]]:
    for index, part in enumerate(value.parts):
        if (error := _problem(part, model)) is not None:
            yield (index, *((error.key,) if error.key else ())), str(error), error.hint


def _problem(part: ModelObservationPart, model: Model) -> PartError | None:
    try:
        part_size(part, model)
    except PartError as error:
        return error
    return None


def _check_size(
    value: ModelObservation, model: Model, at: tuple[str | int, ...], source: SourceFile, report: Report
) -> None:
    sizes = [part_size(part, model) for part in value.parts]
    if any(size is None for size in sizes):
        return  # of a state whose shape only the ONNX file says: the builder checks
    total = sum(size for size in sizes if size is not None)
    if total != size_of(value.shape):
        shown = " + ".join(f"{size} ({_named(part)})" for size, part in zip(sizes, value.parts, strict=True))
        message = f"{list(value.shape)} takes {size_of(value.shape)} values, but its parts are {total}: {shown}"
        report.add(source, (*at, "shape"), message, "correct the parts, or the shape")


def _named(part: ModelObservationPart) -> str:
    return part.input or "constant"


def _check_bounds(value: ModelObservation, at: tuple[str | int, ...], source: SourceFile, report: Report) -> None:
    every = [((*at, "clip"), value.clip)]
    every += [((*at, "parts", index, "clip"), part.clip) for index, part in enumerate(value.parts)]
    for key, clip in every:
        if clip is not None and not clip[0] < clip[1]:
            report.add(source, key, f"from {clip[0]:g} to {clip[1]:g} is nothing", "write clip: [least, most]")
