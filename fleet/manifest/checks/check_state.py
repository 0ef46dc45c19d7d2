"""State that a model keeps from frame to frame: names that exist, each once, and keys that go together."""

from __future__ import annotations

from collections.abc import Iterator

from fleet.manifest.schema.manifest_schema import Model
from fleet.manifest.schema.model_schema import ModelState
from fleet.manifest.yaml.explain import did_you_mean
from fleet.manifest.yaml.report import Report, SourceFile


def check_state(model: Model, source: SourceFile, report: Report) -> None:
    """Note what does not fit together in ``state``. What the ONNX file says is checked in `check_data.py`."""
    if not model.fed and model.inputs:
        hint = "give an input a topic: a model runs on messages"
        report.add(source, ("inputs",), "nothing feeds this model: all its inputs are constant", hint)
    seen: set[str] = set()
    for index, value in enumerate(model.state):
        for key, message, hint in _problems(value, model, seen):
            report.add(source, ("state", index, *key), message, hint)
        seen.add(value.input)


def _problems(value: ModelState, model: Model, seen: set[str]) -> Iterator[tuple[tuple[str, ...], str, str]]:
    if value.input in seen:
        yield ("input",), f"{value.input} is named twice", "keep each input from one output"
    if value.input in {each.tensor for each in model.inputs}:
        hint = "remove it from inputs: what feeds it is the frame before"
        yield ("input",), f"{value.input} is an input and a state", hint
    if value.input in {each.tensor for each in model.observations}:
        hint = "keep a part of the observation instead, under a name of its own"
        yield ("input",), f"{value.input} is an observation and a state", hint
    if (value.output is None) == (value.tail_of is None):
        hint = "give output (an output of the model), or tail_of (an input or observation whose last values are kept)"
        yield (), "a state is kept from one thing: give exactly one of output and tail_of", hint
    elif value.tail_of is not None:
        yield from _tail_problems(value, model)
    rate = model.trigger.rate
    if value.reset == "on_gap" and rate is not None and value.gap * rate < 1.0:
        hint = f"raise it above {1.0 / rate:g} s"
        yield ("gap",), f"gap is shorter than a period of {rate:g} Hz, so that every frame begins a sequence", hint
    if value.reset == "never" and "gap" in value.model_fields_set:
        yield ("gap",), "gap has no effect with reset: never", "remove it, or write reset: on_gap"


def _tail_problems(value: ModelState, model: Model) -> Iterator[tuple[tuple[str, ...], str, str]]:
    known = [*(each.tensor for each in model.fed), *(each.tensor for each in model.observations)]
    if value.tail_of not in known:
        hint = did_you_mean(value.tail_of or "", known)
        yield ("tail_of",), f"there is no input and no observation {value.tail_of}", hint
    elif any(each.tensor == value.tail_of and each.is_image for each in model.fed):
        yield ("tail_of",), f"{value.tail_of} is an image, of which nothing is kept", "keep an output of the model"
    if value.shape is None:
        yield (), "shape is missing", "add shape: how many of the last values are kept, as in [1, 64]"
