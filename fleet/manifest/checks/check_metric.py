"""A model's task metric: its output, its limits, and whether the golden data has enough frames for them."""

from __future__ import annotations

from fleet.manifest.schema.manifest_schema import Model
from fleet.manifest.yaml.explain import did_you_mean
from fleet.manifest.yaml.report import Report, SourceFile
from runtime.contract.engine.task_metric import AGREEMENTS, MAP50, MASK_IOU, METRICS, frames_needed, why_too_few
from runtime.contract.node.box_options import BOX_DECODERS

_AT = ("gates", "metric")


def check_metric(model: Model, source: SourceFile, report: Report) -> None:
    """Note what does not fit together in ``gates.metric``."""
    metric = model.gates.metric
    if metric is None:
        return
    outputs = [name for value in model.outputs for name in value.sources]
    if metric.output not in outputs:
        hint = did_you_mean(metric.output, outputs)
        report.add(source, (*_AT, "output"), f"the model has no output {metric.output}", hint)
    if metric.name not in METRICS:
        report.add(source, (*_AT, "name"), f"there is no metric {metric.name}", did_you_mean(metric.name, METRICS))
        return
    if metric.name == MAP50:
        _check_boxes(model, metric.output, source, report)
    agrees = metric.name in AGREEMENTS
    wrong, right = ("max", "min") if agrees else ("min", "max")
    if wrong in metric.model_fields_set:
        kind = "an agreement: higher is better" if agrees else "an error: lower is better"
        report.add(source, (*_AT, wrong), f"{metric.name} is {kind}, and has no {wrong}", f"write {right}")
    if "threshold" in metric.model_fields_set and metric.name != MASK_IOU:
        hint = "leave it out: it applies to masks of one channel"
        if metric.name == MAP50:
            hint = "leave it out: the threshold of the output's decoder applies"
        report.add(source, (*_AT, "threshold"), f"{metric.name} takes no threshold", hint)
    if model.precisions.int8 is None and "int8" in metric.limits:
        key = "min" if "int8" in metric.min else "max"
        hint = "give precisions/int8 its calibration data, or remove the limit"
        report.add(source, (*_AT, key, "int8"), "a limit for int8, but the model has no int8 options", hint)


def _check_boxes(model: Model, output: str, source: SourceFile, report: Report) -> None:
    """The builder decodes as the robot does: by the options of the output's decoder, into the camera's frame."""
    read = [value for value in model.outputs if output in value.sources]
    if read and not any(value.decoder.name in BOX_DECODERS for value in read):
        hint = f"choose an output of the decoders {', '.join(BOX_DECODERS)}, or another metric"
        message = f"{MAP50} needs boxes, and {output} has decoder {read[0].decoder.name}"
        report.add(source, (*_AT, "output"), message, hint)
    if not any(value.is_image for value in model.inputs):
        hint = "choose another metric"
        report.add(source, (*_AT, "name"), f"{MAP50} needs an image input, and there is none", hint)


def check_metric_frames(model: Model, frames: int, source: SourceFile, report: Report) -> None:
    """Note limits that ``frames`` golden frames cannot tell from a perfect answer."""
    metric = model.gates.metric
    if metric is None:
        return
    for precision, limit in metric.min.items():
        if why := why_too_few(metric.name, limit, frames):
            needed = frames_needed(metric.name, limit)
            hint = f"give {needed} golden frames or more, or write 1: all of them"
            report.add(source, (*_AT, "min", precision), why, hint)
