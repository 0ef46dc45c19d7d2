"""Names and options of decoders, by the table that the runtime reads too."""

from __future__ import annotations

from fleet.manifest.schema.model_schema import ModelOutput
from fleet.manifest.yaml.explain import did_you_mean
from fleet.manifest.yaml.report import Report, SourceFile
from runtime.contract.node.decoders import DECODER_OPTIONS, is_plugin, option_problems


def check_decoder(output: ModelOutput, index: int, source: SourceFile, report: Report) -> None:
    """Note what is wrong with an output's decoder. What a decoder of somebody's own takes, only the robot can tell."""
    at = ("outputs", index, "decoder")
    name = output.decoder.name
    if name not in DECODER_OPTIONS:
        if not is_plugin(name):
            hint = f"{did_you_mean(name, DECODER_OPTIONS)} Write your own as package:name"
            report.add(source, (*at, "name"), f"there is no decoder {name}", hint)
        return
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
