"""What feeds a model's inputs, by the table that the runtime reads too; when the model runs; chains of models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fleet.manifest.checks.check_range import check_range
from fleet.manifest.schema.manifest_schema import Model, ModelInput
from fleet.manifest.yaml.explain import did_you_mean
from fleet.manifest.yaml.report import Report, SourceFile
from runtime.contract.node.decoders import problems_with
from runtime.contract.node.encodings import COMPRESSED_ENCODINGS
from runtime.contract.node.inputs import (
    COMPRESSED_IMAGE,
    INPUT_OPTIONS,
    dtype_problem,
    image_problem,
    read_input_options,
    shape_problem,
)

_OF_IMAGES = ("encoding", "width", "height", "preprocess")
_OF_TOPICS = ("type", "adapter", "options", "stamp")
_OF_FED = ("dtype", "shape_range", "offset", "min_rate")


def check_input(value: ModelInput, index: int, source: SourceFile, report: Report) -> bool:
    """Note what is wrong with an input. Returns whether its form is right, so that more can be checked."""
    form = _check_feed(value, index, source, report)
    if form and not value.is_constant and not report.has(source, ("inputs", index, "shape")):
        check_range(value, index, source, report)
    return form


def _check_feed(value: ModelInput, index: int, source: SourceFile, report: Report) -> bool:
    at = ("inputs", index)
    found = list(_form(value))
    for key, message, hint in found:
        report.add(source, (*at, *key), message, hint)
    if found or value.adapter is not None or value.is_constant or value.from_output is not None:
        return not found
    if value.is_image:
        return _options(value, index, source, report) and _image_options(value, index, source, report)
    if not _options(value, index, source, report):
        return False
    for problem in shape_problem(value.type, value.shape, read_input_options(value.type, value.options)):
        report.add(source, (*at, "shape"), problem.message, problem.hint)
    for problem in dtype_problem(value.type, value.dtype):
        report.add(source, (*at, "dtype"), problem.message, problem.hint)
    return True


def _form(value: ModelInput) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Yield which keys are missing, and which do not go together: key, message, hint."""
    given = value.model_fields_set
    if sum((value.topic is not None, value.from_output is not None, value.is_constant)) != 1:
        hint = "give topic (a ROS topic), or from (another model's output), or constant; what it keeps is state"
        yield (), "an input has one source: give exactly one of topic, from and constant", hint
        return
    if value.is_constant:
        for key in sorted(given & {*_OF_IMAGES, *_OF_TOPICS, *_OF_FED}):
            yield (key,), f"{key} is for what is fed, but this input is constant", "remove it"
        return
    if "shape" not in given:
        yield (), "shape is missing", "add shape: what the ONNX file has, [] for a single value without dimensions"
    yield from _fed_form(value, given)


def _fed_form(value: ModelInput, given: set[str]) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """The same of an input with a source."""
    if value.from_output is not None:
        for key in sorted(given & {*_OF_IMAGES, *_OF_TOPICS}):
            yield (key,), f"{key} is for topics, but this input comes from {value.from_output.model}", "remove it"
    elif value.adapter is not None and "type" not in given:
        yield (), "an adapter needs the message type that it takes", "add type, as in sensor_msgs/msg/Range"
    elif value.adapter is None and value.type not in INPUT_OPTIONS:
        hint = f"{did_you_mean(value.type, INPUT_OPTIONS)}; for another type give your own adapter, package:name"
        yield ("type",), f"no input takes {value.type}", hint
    elif not value.is_image:
        what = value.type if value.adapter is None else value.adapter
        for key in sorted(given & set(_OF_IMAGES)):
            yield (key,), f"{key} is for images, but this input is {what}", "remove it"
    else:
        yield from _image_form(value)


def _image_form(value: ModelInput) -> Iterator[tuple[tuple[str, ...], str, str]]:
    if value.dtype != "float32":
        yield ("dtype",), f"images become float32, not {value.dtype}", "remove dtype, or export a float32 input"
    for key in ("width", "height"):
        if getattr(value, key) is None:
            yield (), f"{key} is missing", f"add the {key} of the camera's frames, in pixels"


def _options(value: ModelInput, index: int, source: SourceFile, report: Report) -> bool:
    at = ("inputs", index, "options")
    specs = INPUT_OPTIONS[value.type]
    problems = problems_with(specs, value.options)
    for problem in problems:
        if problem.unknown and problem.option is not None:
            hint = did_you_mean(problem.option, [spec.name for spec in specs])
            report.add(source, (*at, problem.option), f"{value.type} has no option {problem.option}", hint)
        else:
            report.add(source, (*at, str(problem.option)), f"{problem.option} {problem.message}", problem.hint)
    return not problems


def _image_options(value: ModelInput, index: int, source: SourceFile, report: Report) -> bool:
    at = ("inputs", index)
    if value.type == COMPRESSED_IMAGE and value.encoding not in COMPRESSED_ENCODINGS:
        message = f"compressed images are not decoded to {value.encoding}"
        report.add(source, (*at, "encoding"), message, f"use one of {', '.join(COMPRESSED_ENCODINGS)}")
        return False
    options = read_input_options(value.type, value.options)
    for problem in image_problem(value.encoding, options):
        report.add(source, (*at, "options"), problem.message, problem.hint)
        return False
    return True


def check_topics(model: Model, source: SourceFile, report: Report) -> None:
    """Note a topic that two inputs expect to have two types."""
    types: dict[str, str] = {}
    for index, value in enumerate(model.inputs):
        if value.topic is not None and types.setdefault(value.topic, value.type) != value.type:
            message = f"{value.topic} is {types[value.topic]} for another input, and {value.type} for this one"
            report.add(source, ("inputs", index, "type"), message, "a topic has one type: correct topic or type")


def check_timing(model: Model, source: SourceFile, report: Report) -> None:
    """Note what does not fit together in trigger and join."""
    trigger, join = model.trigger, model.join
    tensors = [value.tensor for value in model.fed]
    if trigger.input is not None and trigger.input not in tensors:
        hint = did_you_mean(trigger.input, tensors)
        report.add(source, ("trigger", "input"), f"the model has no input {trigger.input}", hint)
    if trigger.input is not None and trigger.rate is not None:
        hint = "give input (runs on its frames), or rate (runs by time)"
        report.add(source, ("trigger", "rate"), "a model runs on frames or by time, not on both", hint)
    if "unchanged" in trigger.model_fields_set and trigger.rate is None:
        message = "unchanged is for models that run by time"
        report.add(source, ("trigger", "unchanged"), message, "add rate, or remove it")
    if trigger.unchanged == "repeat" and join.max_age is None:
        hint = "add join: {max_age: 500ms}, so that frames of a silent sensor are not repeated for ever"
        report.add(source, ("trigger", "unchanged"), "old frames would be repeated without a limit", hint)
    _check_join(model, source, report)


def _check_join(model: Model, source: SourceFile, report: Report) -> None:
    join = model.join
    if join.tolerance is not None and len(model.fed) == 1:
        hint = "remove it; max_age is for a single input too"
        report.add(source, ("join", "tolerance"), "there is only one input: nothing to join", hint)
    if join.tolerance is None:
        for key in sorted({"clock_back", "queue", "match"} & join.model_fields_set):
            report.add(source, ("join", key), f"{key} has no effect without tolerance", "add tolerance, or remove it")
        for index, value in enumerate(model.inputs):
            if value.offset:
                hint = "add join: {tolerance: 50ms}, or remove it"
                report.add(source, ("inputs", index, "offset"), "offset has no effect without tolerance", hint)
    if model.trigger.rate is not None and "match" in join.model_fields_set:
        message = "match is for models that run on frames; by time, the newest set is taken of which all is known"
        report.add(source, ("join", "match"), message, "remove it")


def check_chains(models: Mapping[str, Model | None], sources: Mapping[str, SourceFile], report: Report) -> None:
    """Note inputs that are fed by no model's output, and models that wait for themselves. Broken models are None."""
    for name, model in models.items():
        for index, value in enumerate(model.inputs if model is not None else ()):
            if value.from_output is None:
                continue
            at = ("inputs", index, "from")
            feeding = value.from_output.model
            if feeding not in models:
                hint = did_you_mean(feeding, models)
                report.add(sources[name], (*at, "model"), f"no model is called {feeding}", hint)
                continue
            if feeder := models[feeding]:
                outputs = [name for output in feeder.outputs for name in output.sources]
                if value.from_output.tensor not in outputs:
                    hint = f"{did_you_mean(value.from_output.tensor, outputs)} (outputs of {feeding} that are declared)"
                    message = f"{feeding} has no output {value.from_output.tensor}"
                    report.add(sources[name], (*at, "tensor"), message, hint)
            if way := _way_back(name, feeding, models):
                message = f"{name} depends on itself: {' → '.join(reversed((name, *way)))}"
                hint = "give one of them a topic; what a model keeps for its own next frame is its state"
                report.add(sources[name], (*at, "model"), message, hint)


def feeders(model: Model | None) -> list[str]:
    """Return the models whose outputs feed ``model``."""
    return [value.from_output.model for value in model.inputs if value.from_output] if model is not None else []


def _way_back(name: str, feeding: str, models: Mapping[str, Model | None]) -> tuple[str, ...]:
    """Return the models from ``feeding`` back to ``name``, or nothing when it does not depend on it."""
    ways: list[tuple[str, ...]] = [(feeding,)]
    seen = {feeding}
    while ways:
        way = ways.pop()
        if way[-1] == name:
            return way
        for before in feeders(models.get(way[-1])):
            if before not in seen:
                seen.add(before)
                ways.append((*way, before))
    return ()
