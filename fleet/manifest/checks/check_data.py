"""Check the files that a model names: the ONNX graph, golden data, calibration data. Local files only."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from fleet.manifest.checks.check_decoder import count_problem
from fleet.manifest.checks.check_front_tensors import check_front_tensors, why_not_held
from fleet.manifest.checks.check_metric import check_metric_frames
from fleet.manifest.checks.check_precision_exclusions import check_precision_exclusions
from fleet.manifest.checks.check_range import why_not_open
from fleet.manifest.files.named_files import calibration_files, file_sha256, inside, why_no_file
from fleet.manifest.files.npz_header import NotNpz, read_npz_header
from fleet.manifest.files.onnx_graph import MAX_ONNX_BYTES, Graph, NotOnnx, Tensor, read_graph
from fleet.manifest.schema.manifest_schema import Model, ModelInput
from fleet.manifest.schema.model_schema import InputType
from fleet.manifest.yaml.explain import did_you_mean
from fleet.manifest.yaml.report import Report, SourceFile
from fleet.manifest.yaml.yaml_text import KeyPath
from runtime.contract.engine.image_layout import IMAGE_DTYPES
from runtime.contract.node.inputs import size_of

_NO_ARRAYS = frozenset({"bfloat16", "string", "undefined", "complex64", "complex128"})
MIN_SEQUENCE = 8
"""Golden frames of a model with state."""
MIN_CALIBRATION = 8
"""Fewer samples say too little of the ranges of activations; hundreds are better."""


def check_data(model: Model, root: Path, folder: Path, source: SourceFile, report: Report) -> None:
    """Note what is wrong with a model's files. A source by URL or OCI reference is checked when it is fetched."""
    checks = _Checks(model, root, folder, source, report)
    graph = checks.graph()
    if graph is not None:
        checks.tensors(graph)
        check_front_tensors(model, graph, source, report)
        checks.precisions(graph)
        check_precision_exclusions(model, graph, source, report)
    checks.golden()
    checks.calibration()


class _Checks:
    def __init__(self, model: Model, root: Path, folder: Path, source: SourceFile, report: Report) -> None:
        self._model = model
        self._root = root
        self._folder = folder
        self._source = source
        self._report = report

    def graph(self) -> Graph | None:
        """Check the ONNX file against its sha256 and read its graph."""
        written = self._model.source
        if written.path is None:
            return None
        at: KeyPath = ("source", "path")
        hint = "put the ONNX file there, or correct the path; `make setup` in a checkout fetches the example's"
        path = self._file(written.path, at, hint)
        if path is None:
            return None
        try:
            found = file_sha256(path)
            if found != written.sha256:
                hint = f"if the file is the one you mean, write sha256: {found}"
                self._add(("source", "sha256"), f"{path} has another sha256 than declared", hint)
            graph = read_graph(path, found)
            self._weights(graph, path)
            return graph
        except OSError as error:
            self._add(at, f"{path} cannot be read: {error.strerror or error}", "check the file's permissions")
        except NotOnnx as error:
            self._add(at, f"{path} {error}", error.hint)
        return None

    def _weights(self, graph: Graph, model: Path) -> None:
        """Check the files beside the ONNX file that hold its weights, each against its sha256."""
        declared, at = self._model.source.data, ("source", "data")
        size = model.stat().st_size
        for name in graph.files:
            path = model.parent / name
            if why := why_no_file(path):
                self._add(
                    at, f"{path}, which the ONNX file keeps weights in, {why}", "put it there: exporters write both"
                )
                continue
            size += path.stat().st_size
            found = file_sha256(path)
            if declared.get(name) != found:
                what = "is not pinned" if name not in declared else "has another sha256 than declared"
                hint = f"if the file is the one you mean, write source: {{data: {{{name}: {found}}}}}"
                self._add(at, f"{path}, which the ONNX file keeps weights in, {what}", hint)
        for name in declared:
            if name not in graph.files:
                hint = (
                    did_you_mean(name, graph.files) if graph.files else "remove it: the file holds its weights itself"
                )
                self._add((*at, name), f"the ONNX file keeps no weights in {name}", hint)
        if size > MAX_ONNX_BYTES:
            self._add(at, f"{model} and its data are larger than 2 GB", "use a smaller model")

    def tensors(self, graph: Graph) -> None:
        """Check that inputs and outputs are the graph's."""
        for index, value in enumerate(self._model.inputs):
            tensor = graph.inputs.get(value.tensor)
            if tensor is None and value.tensor in self._only_composed():
                continue
            if tensor is None:
                hint = did_you_mean(value.tensor, graph.inputs)
                self._add(("inputs", index, "tensor"), f"the ONNX file has no input {value.tensor}", hint)
            else:
                self._input(value, tensor, ("inputs", index))
        declared = {value.tensor for value in self._model.inputs}
        declared |= {value.tensor for value in self._model.observations}
        declared |= {value.input for value in self._model.state}
        declared -= self._only_composed() - graph.inputs.keys()
        for name in graph.inputs:
            if name not in declared and declared <= graph.inputs.keys():
                hint = "declare it under inputs (what feeds it, or constant), state or observations"
                self._add(("inputs",), f"input {name} of the ONNX file is not declared", hint)
        for index, output in enumerate(self._model.outputs):
            if output.tensor is not None:
                self._output(output.tensor, graph, ("outputs", index, "tensor"))
                tensor = graph.outputs.get(output.tensor)
                if tensor is not None and (wrong := count_problem(output, tensor)) is not None:
                    self._add(("outputs", index, "decoder"), *wrong)
            for role, name in output.tensors.items():
                self._output(name, graph, ("outputs", index, "tensors", role))

    def _output(self, name: str, graph: Graph, at: KeyPath) -> None:
        if name not in graph.outputs:
            self._add(at, f"the ONNX file has no output {name}", did_you_mean(name, graph.outputs))
        elif (kind := graph.outputs[name].dtype) in _NO_ARRAYS:
            hint = "export the model with a float32 output there (a Cast), or without it"
            said = "no tensor" if kind == "undefined" else kind
            self._add(at, f"output {name} is {said}: no robot reads it", hint)

    def _only_composed(self) -> set[str]:
        """What observations and tails are made of: these need not be inputs of the ONNX file."""
        parts = {part.input for each in self._model.observations for part in each.parts if part.input}
        return parts | {each.tail_of for each in self._model.state if each.tail_of}

    def _input(self, value: ModelInput, tensor: Tensor, at: KeyPath) -> None:
        if value.is_constant:
            self._constant(value, tensor, at)
            return
        if not tensor.accepts(value.shape):
            hint = f"write a shape that fits {tensor.shown}"
            self._add((*at, "shape"), f"{list(value.shape)} does not fit the ONNX file's {tensor.shown}", hint)
        elif why := why_not_open(value, tensor):
            self._add((*at, "shape_range"), *why)
        if tensor.dtype != value.dtype and not (value.is_image and tensor.dtype in IMAGE_DTYPES):
            known = tensor.dtype in get_args(InputType) and not value.is_image
            hint = f"write dtype: {tensor.dtype}" if known else "export the model with a float32 input"
            self._add((*at, "tensor"), f"input {value.tensor} is {tensor.dtype}, not {value.dtype}", hint)

    def _constant(self, value: ModelInput, tensor: Tensor, at: KeyPath) -> None:
        """Check that a constant has as many values as its tensor, whose shape is known."""
        given = value.constant or ()
        shape = value.shape if "shape" in value.model_fields_set else tensor.fixed
        if shape is None:
            message = f"the ONNX file leaves the shape of {value.tensor} open: {tensor.shown}"
            self._add((*at, "constant"), message, "add shape")
        elif not tensor.accepts(shape):
            self._add((*at, "shape"), f"{list(shape)} does not fit the ONNX file's {tensor.shown}", "correct shape")
        elif len(given) not in (1, size_of(shape)):
            message = f"{len(given)} values, but {value.tensor} takes {size_of(shape)}"
            self._add((*at, "constant"), message, "give one value, or as many as the tensor has")
        elif problem := why_not_held(given, tensor.dtype):
            self._add((*at, "constant"), f"{value.tensor} is {tensor.dtype}, which {problem}", "correct the value")

    def golden(self) -> None:
        """Check that golden data has frames for every input, and nothing unknown."""
        at: KeyPath = ("golden", "data")
        path = self._file(self._model.golden.data, at, "save frames with numpy.savez under each input tensor's name")
        if path is None:
            return
        try:
            arrays = read_npz_header(path)
        except NotNpz as error:
            self._add(at, f"{path} {error}", "write it with numpy.savez_compressed(path, tensor_name=frames)")
            return
        for value in self._model.fed:
            if value.tensor in arrays:
                self._frames(arrays[value.tensor], value, path, at)
            else:
                self._add(
                    at, f"{path} has no frames for input {value.tensor}", f"it has: {', '.join(arrays) or 'nothing'}"
                )
        known = {value.tensor for value in self._model.fed}
        known |= {name for value in self._model.outputs for name in value.sources}
        known |= {value.output for value in self._model.state if value.output}
        for name in arrays:
            if name not in known:
                self._add(at, f"{path} has {name}, which is no tensor of the model", did_you_mean(name, known))
        counts = {shape[:1] for name, (shape, _) in arrays.items() if name in known}
        if len(counts) > 1:
            self._add(at, f"arrays of {path} differ in their first dimension", "give every array one entry a sample")
        if self._model.state and len(counts) == 1 and min(counts)[:1] < (MIN_SEQUENCE,):
            message = f"{path} has {min(counts)[0]} frames, and the model keeps state"
            hint = f"give {MIN_SEQUENCE} frames or more that follow each other, as the robot's sensors gave them"
            self._add(at, message, hint)
        for count in (count for count in counts if len(counts) == 1 and count != () and count[0] > 0):
            check_metric_frames(self._model, count[0], self._source, self._report)

    def _frames(self, array: tuple[tuple[int, ...], str], value: ModelInput, path: Path, at: KeyPath) -> None:
        shape, dtype = array
        own = value.shape[1:] if value.shape[:1] == (1,) else value.shape
        kind, frame = (value.frame_dtype, value.frame) if value.is_image else (value.dtype, own)
        if dtype != kind or shape[1:] != frame or not shape or shape[0] < 1:
            wanted = ", ".join(map(str, ("N", *frame)))
            message = f"{value.tensor} of {path} is {dtype} of shape {list(shape)}"
            as_what = "frames as the camera gives them" if value.is_image else "values as the model takes them"
            self._add(at, message, f"write {as_what}: {kind} of shape [{wanted}]")

    def precisions(self, graph: Graph) -> None:
        """Check that int8 has ranges from somewhere: calibration data, or the model's own scales."""
        int8 = self._model.precisions.int8
        if int8 is not None and int8.calibration is None and not graph.quantized:
            hint = "add calibration: a folder of the robot's frames; only a model of Q/DQ pairs has scales of its own"
            self._add(("precisions", "int8"), "int8 needs calibration data, and the ONNX file is not quantized", hint)

    def calibration(self) -> None:
        """Check that there are enough calibration samples."""
        int8 = self._model.precisions.int8
        if int8 is None or int8.calibration is None:
            return
        at: KeyPath = ("precisions", "int8", "calibration")
        path = inside(self._root, self._folder, int8.calibration)
        if path is None or why_no_file(path) not in ("", "is a folder"):
            self._file(int8.calibration, at, f"put at least {MIN_CALIBRATION} frames of the robot's camera there")
            return
        try:
            files = calibration_files(path)
            samples = sum(self._samples(file) for file in files)
        except (OSError, NotNpz) as error:
            self._add(at, f"{path}: {error}", "give a folder of images (.png, .jpg, .bmp) or .npz files")
            return
        if samples < MIN_CALIBRATION:
            hint = "add frames of the robot's camera; hundreds are better"
            self._add(at, f"{path} has {samples} samples, int8 needs at least {MIN_CALIBRATION}", hint)

    def _samples(self, file: Path) -> int:
        if file.suffix.lower() != ".npz":
            if len(self._model.fed) != 1 or not self._model.fed[0].is_image:
                raise NotNpz("pictures calibrate a model of one image input alone")
            return 1
        arrays = read_npz_header(file)
        counts = [arrays[value.tensor][0][:1] for value in self._model.fed if value.tensor in arrays]
        if len(counts) < len(self._model.fed) or () in counts:
            raise NotNpz("has no samples for every input of the model")
        return min(count[0] for count in counts)

    def _file(self, name: str, at: KeyPath, hint: str) -> Path | None:
        path = inside(self._root, self._folder, name)
        if path is None:
            outside = "move it below the folder of fleet.yaml: that folder is what is reviewed and copied"
            self._add(at, f"{name} is outside of the manifest's folder", outside)
        elif why := why_no_file(path):
            self._add(at, f"{path} {why}", hint)
        else:
            return path
        return None

    def _add(self, at: KeyPath, message: str, hint: str) -> None:
        self._report.add(self._source, at, message, hint)
