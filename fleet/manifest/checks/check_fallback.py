"""Rules of a model's fallback: there is such an engine, it is another one, and it fits where the model's own was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fleet.manifest.schema.manifest_schema import Fallback, Model, ModelInput, ModelOutput, ModelUse
from fleet.manifest.yaml.explain import did_you_mean
from fleet.manifest.yaml.yaml_text import KeyPath

_OF_THE_TENSOR = {"tensor", "shape", "preprocess", "min_rate", "dtype", "constant"}
"""Keys of an input that say nothing of the messages that feed it."""
VELOCITY, JOINTS = "velocity", "joints"


@dataclass(frozen=True, slots=True)
class FallbackProblem:
    """What is wrong with one fallback."""

    at: KeyPath
    """Below the key ``fallback``."""
    message: str
    hint: str


def fallback_problems(use: ModelUse, models: Mapping[str, Model | None], *, unread: bool) -> Iterator[FallbackProblem]:
    """Yield what does not fit. ``unread``: some model's file could not be read, so that no name is surely unknown."""
    there, own = use.fallback, models.get(use.model)
    if there is None:
        return
    if there.then is not None and own is not None:
        yield from _commands(use.model, there.then, own)
    if there.precision is None:
        return
    name = there.model or use.model
    if name not in models:
        if not unread:
            yield FallbackProblem(("model",), f"no model is called {name}", did_you_mean(name, models))
        return
    if (name, there.precision) == (use.model, use.precision):
        hint = "choose another precision, or a smaller model"
        yield FallbackProblem((), f"{name} {there.precision} would be its own fallback", hint)
    model = models[name]
    if model is None or own is None:
        return
    if there.precision == "int8" and model.precisions.int8 is None:
        hint = f"give {name} precisions/int8/calibration in its file, or choose fp16"
        yield FallbackProblem(("precision",), f"{name} at int8 without calibration data", hint)
    if name != use.model:
        yield from _misfits(there, own, model)


def _misfits(there: Fallback, own: Model, model: Model) -> Iterator[FallbackProblem]:
    at: KeyPath = ("model",) if there.model is not None else ()
    wanted, given = sorted(map(_source, own.fed)), sorted(map(_source, model.fed))
    if wanted != given:
        message = f"{model.name} has other inputs than {own.name}: {'; '.join(given)} instead of {'; '.join(wanted)}"
        hint = "a fallback takes the same messages from the same topics; its tensors may have other names"
        yield FallbackProblem(at, message, hint)
    decoders, found = [_sink(output) for output in own.outputs], [_sink(output) for output in model.outputs]
    if decoders != found:
        message = f"{model.name} answers with {', '.join(found)}, {own.name} with {', '.join(decoders)}"
        hint = "a fallback publishes on the model's own topics: give it the same decoders in the same order"
        yield FallbackProblem(at, message, hint)


def _commands(name: str, then: str, own: Model) -> Iterator[FallbackProblem]:
    for output in own.outputs:
        decoder = str(output.decoder.name)
        if decoder == JOINTS:
            zero = output.decoder.options.get("interface") == VELOCITY
            if then != ("zero" if zero else "hold"):
                message = f"{then}, but the joints of {output.topic} {'stop' if zero else 'hold'} without a result"
                hint = f"write {'zero' if zero else 'hold'}; how they do is declared with the decoder"
                yield FallbackProblem(("then",), message, hint)
        elif decoder != VELOCITY:
            message = f"{name} publishes {output.topic} with {decoder}, which has no {then}"
            yield FallbackProblem(
                ("then",),
                message,
                "zero and hold are only for models with velocity outputs, or joints",
            )
        elif (said := output.decoder.options.get("on_failure", "zero")) != then:
            hint = "write the same value in both places"
            yield FallbackProblem(("then",), f"{then}, but the output {output.topic} has on_failure: {said}", hint)


def _source(value: ModelInput) -> str:
    if value.is_image:
        facts = value.model_dump(exclude=_OF_THE_TENSOR)
    else:  # nothing resizes it, so the shape says what the messages are like
        facts = value.model_dump(include={"topic", "from_output", "type", "adapter", "options", "shape", "dtype"})
        facts = {key: item for key, item in facts.items() if (key, item) != ("dtype", "float32")}
    return " ".join(str(item) for item in facts.values() if item not in (None, {}))


def _sink(value: ModelOutput) -> str:
    message = value.decoder.options.get("message")
    said = str(value.decoder.name) if message is None else f"{value.decoder.name} ({message})"
    return f"{said} of {' and '.join(sorted(value.tensors))}" if value.tensors else said
