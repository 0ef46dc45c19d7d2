"""Rules of a model that one key alone cannot show. The model's files are checked in `check_data.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fleet.manifest.checks.check_decoder import check_decoder, check_pictures, check_topics_below
from fleet.manifest.checks.check_input import check_input, check_timing, check_topics
from fleet.manifest.checks.check_metric import check_metric
from fleet.manifest.checks.check_observations import check_observations
from fleet.manifest.checks.check_state import check_state
from fleet.manifest.schema.manifest_schema import Model, ModelInput, ModelOutput, Profile
from fleet.manifest.yaml.explain import did_you_mean
from fleet.manifest.yaml.report import Report, SourceFile
from runtime.contract.engine.image_layout import from_nchw
from runtime.contract.node.encodings import ENCODINGS

CHANNELS = {"rgb": 3, "bgr": 3, "gray": 1}


def check_model(model: Model, profiles: Mapping[str, Profile | None], source: SourceFile, report: Report) -> None:
    """Note what does not fit together in a model's file."""
    _check_names("inputs", model.inputs, source, report)
    _check_names("outputs", model.outputs, source, report)
    for index, value in enumerate(model.inputs):
        if check_input(value, index, source, report) and value.is_image:
            _check_image(value, index, source, report)
    check_state(model, source, report)
    check_observations(model, source, report)
    check_topics(model, source, report)
    check_timing(model, source, report)
    for index, output in enumerate(model.outputs):
        check_decoder(output, index, source, report)
    check_topics_below(model, source, report)
    check_pictures(model, source, report)
    for name in model.gates.latency_p99:
        if name not in profiles:
            path = ("gates", "latency_p99", name)
            report.add(
                source, path, f"no profile is called {name}", f"{did_you_mean(name, profiles)} (fleet.yaml: profiles)"
            )
    check_metric(model, source, report)
    _check_calibrator(model, source, report)
    if model.precisions.int8 is None and "int8" in model.gates.accuracy:
        hint = "give precisions/int8 its calibration data, or remove the gate"
        report.add(source, ("gates", "accuracy", "int8"), "a gate for int8, but the model has no int8 options", hint)


def _check_calibrator(model: Model, source: SourceFile, report: Report) -> None:
    """TensorRT's own calibrator chooses by itself what runs at int8, and takes frames as they are."""
    int8 = model.precisions.int8
    if int8 is None or int8.method != "calibrator":
        return
    if model.state:
        hint = "use method minmax, percentile or entropy: they run the frames as one sequence"
        message = "method calibrator cannot be used with state: TensorRT would see none of its values"
        report.add(source, ("precisions", "int8", "method"), message, hint)
    for key, names in (("exclude_ops", int8.exclude_ops), ("exclude_nodes", int8.exclude_nodes)):
        if names:
            hint = "leave it out, or use method minmax, percentile or entropy, which leave them in float"
            message = "method calibrator does not support exclusions: TensorRT chooses what runs at int8"
            report.add(source, ("precisions", "int8", key), message, hint)


def _check_names(key: str, values: Sequence[ModelInput | ModelOutput], source: SourceFile, report: Report) -> None:
    tensors: dict[str, int] = {}
    topics: dict[str, int] = {}
    for index, value in enumerate(values):
        name = value.tensor if isinstance(value, ModelInput) else value.output_name
        if tensors.setdefault(name, index) != index:
            hint = f"{key}/{tensors[name]} names it already"
            where = "tensors" if isinstance(value, ModelOutput) and value.tensors else "tensor"
            report.add(source, (key, index, where), f"{name} is named twice", hint)
        if isinstance(value, ModelOutput) and topics.setdefault(value.topic, index) != index:
            hint = "give every output a topic of its own"
            report.add(source, (key, index, "topic"), f"{value.topic} is published twice", hint)


def _check_image(value: ModelInput, index: int, source: SourceFile, report: Report) -> None:
    at = ("inputs", index)
    shape, preprocess = value.shape, value.preprocess
    channels = CHANNELS[preprocess.color]
    layout = preprocess.layout
    if len(shape) != len(layout) or (layout[0] == "n" and shape[0] != 1):
        sizes = {"n": "1", "c": str(channels), "h": "height", "w": "width"}
        hint = f"write [{', '.join(sizes[axis] for axis in layout)}], or the layout that the model has"
        report.add(source, (*at, "shape"), f"{list(shape)} is not the shape of one image of layout {layout}", hint)
        return
    _, found, *size = value.image_shape
    if found != channels:
        right = list(from_nchw((1, channels, *size), layout))
        hint = f"write {right}, the color that the model was trained on, or its layout"
        report.add(source, (*at, "shape"), f"{found} channels, but color {preprocess.color} has {channels}", hint)
    height, width = value.height or 0, value.width or 0
    if misfit := ENCODINGS[value.encoding].misfit(height, width):
        report.add(source, (*at, "encoding"), misfit, "correct width and height, or the encoding")
    rows, columns = (width, height) if preprocess.rotate in (90, 270) else (height, width)
    if preprocess.resize == "none" and [rows, columns] != size:
        message = f"resize none, but frames of {columns}x{rows} and a tensor of {size[1]}x{size[0]}"
        report.add(source, (*at, "preprocess", "resize"), message, "write stretch or letterbox")
    for key in ("place", "pad"):
        if key in preprocess.model_fields_set and preprocess.resize != "letterbox":
            hint = "write resize: letterbox, or leave it out"
            report.add(source, (*at, "preprocess", key), f"{key} is of resize letterbox alone", hint)
    for key in ("mean", "std", "pad"):
        numbers = getattr(preprocess, key)
        if key in preprocess.model_fields_set and len(numbers) != channels and not (key == "pad" and len(numbers) == 1):
            message = f"{len(numbers)} numbers, but color {preprocess.color} has {channels} channels"
            report.add(source, (*at, "preprocess", key), message, f"write {channels}, one for each channel")
