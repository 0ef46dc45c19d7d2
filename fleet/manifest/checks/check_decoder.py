"""Names and options of decoders, by the table that the runtime reads too."""

from __future__ import annotations

import math

from fleet.manifest.files.onnx_graph import Tensor
from fleet.manifest.schema.model_schema import ModelOutput
from fleet.manifest.yaml.explain import did_you_mean
from fleet.manifest.yaml.report import Report, SourceFile
from runtime.contract.node.commands import topic_problem
from runtime.contract.node.decoders import DECODER_OPTIONS, is_plugin, option_problems

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
