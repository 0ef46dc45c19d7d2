"""Names and options of decoders, by the table that the runtime reads too."""

from __future__ import annotations

import math

from fleet.manifest.files.onnx_graph import Tensor
from fleet.manifest.schema.model_schema import Model, ModelOutput
from fleet.manifest.yaml.explain import did_you_mean
from fleet.manifest.yaml.report import Report, SourceFile
from runtime.contract.node.box_options import BOX_DECODERS
from runtime.contract.node.commands import topic_problem
from runtime.contract.node.decoders import DECODER_OPTIONS, is_plugin, option_problems
from runtime.contract.node.tensor_roles import tensors_problem

BELOW = {"instances": "mask", "keypoints": "keypoints"}
"""Decoders that publish on a second topic, and its last word."""


def check_topics_below(model: Model, source: SourceFile, report: Report) -> None:
    """Note topics that an output takes for itself and another one's decoder for what belongs to its result."""
    taken = {output.topic: index for index, output in enumerate(model.outputs)}
    for index, output in enumerate(model.outputs):
        word = BELOW.get(output.decoder.name)
        other = taken.get(f"{output.topic}/{word}") if word else None
        if other is not None:
            message = f"{output.topic}/{word} is where {output.decoder.name} of outputs/{index} publishes too"
            report.add(source, ("outputs", other, "topic"), message, "give this output another topic")


def check_pictures(model: Model, source: SourceFile, report: Report) -> None:
    """Note decoders that find things in a picture, of a model that takes none."""
    if any(value.is_image for value in model.inputs):
        return
    for index, output in enumerate(model.outputs):
        sizes = {output.decoder.options.get(key) for key in ("size", "mask_size")}
        if output.decoder.name in (*BOX_DECODERS, "text_boxes") or "camera" in sizes:
            message = f"{output.decoder.name} gives pixels of the camera, and the model has no image input"
            hint = "use the decoder tensor, or declare the input that is an image"
            report.add(source, ("outputs", index, "decoder", "name"), message, hint)


_NUMBERED = {"joints": ("joints", ()), "velocity": ("axes", ("linear.x", "angular.z"))}
"""Decoder → the option with one name for each number of the output, and its default."""


def count_problem(output: ModelOutput, tensor: Tensor) -> tuple[str, str] | None:
    """Return what is wrong, and what to do, where a command needs as many numbers as an output of the ONNX file has."""
    option, usual = _NUMBERED.get(str(output.decoder.name), ("", ()))
    names = output.decoder.options.get(option, usual)
    if not option or not isinstance(names, (list, tuple)) or tensor.shape is None or None in tensor.shape:
        return None
    count = math.prod(size for size in tensor.shape if size is not None)
    if count == len(names):
        return None
    message = f"{output.decoder.name} has {len(names)} {option}, and output {output.tensor} is {tensor.shown}"
    return message, f"name one of {option} for each of its {count} numbers, in its order, under options"


def check_decoder(output: ModelOutput, index: int, source: SourceFile, report: Report) -> None:
    """Note what is wrong with an output's decoder. What a decoder of somebody's own takes, only the robot can tell."""
    at = ("outputs", index, "decoder")
    name = output.decoder.name
    if name not in DECODER_OPTIONS:
        if not is_plugin(name):
            hint = f"{did_you_mean(name, DECODER_OPTIONS)} Write your own as package:name"
            report.add(source, (*at, "name"), f"there is no decoder {name}", hint)
        return
    if wrong := tensors_problem(name, output.decoder.options, tuple(output.tensors)):
        key = "tensors" if output.tensors else "tensor"
        report.add(source, ("outputs", index, key), *wrong)
    if (found := topic_problem(output.topic, output.decoder.options)) is not None:
        report.add(source, ("outputs", index, "topic"), *found)
    options = {spec.name for spec in DECODER_OPTIONS[name]}
    for problem in option_problems(name, output.decoder.options):
        if problem.unknown and problem.option is not None:
            hint = did_you_mean(problem.option, options)
            report.add(source, (*at, "options", problem.option), f"{name} has no option {problem.option}", hint)
        elif problem.option is None:
            report.add(source, at, f"{name} {problem.message}", f"{problem.hint}, under options")
        else:
            path = (*at, "options", problem.option)
            report.add(source, path, f"{problem.option} {problem.message}", problem.hint)
