"""Class names that a model's file takes from elsewhere, put where they are named: a release holds the names."""

from __future__ import annotations

from pathlib import Path

from fleet.manifest.files.class_names import METADATA, NoNames, names_in_file, names_in_metadata
from fleet.manifest.files.named_files import file_sha256, inside, why_no_file
from fleet.manifest.files.onnx_graph import NotOnnx, read_graph
from fleet.manifest.schema.manifest_schema import Model, ModelOutput
from fleet.manifest.yaml.report import Report, SourceFile
from fleet.manifest.yaml.yaml_text import KeyPath
from runtime.contract.node.decoders import DECODER_OPTIONS

_LIST = "or write labels as a list of names"


def resolve_labels(model: Model, root: Path, folder: Path, source: SourceFile, report: Report) -> Model:
    """Return the model with every ``labels`` a list: read from a file (one name a line, relative to the model's file),
    or from the ONNX file's metadata. What cannot be read is noted, and the key left out with it."""
    read = _Read(model, root, folder, source, report)
    outputs = tuple(read.output(value, index) for index, value in enumerate(model.outputs))
    return model.model_copy(update={"outputs": outputs}) if outputs != model.outputs else model


class _Read:
    def __init__(self, model: Model, root: Path, folder: Path, source: SourceFile, report: Report) -> None:
        self._model, self._root, self._folder, self._source, self._report = model, root, folder, source, report

    def output(self, value: ModelOutput, index: int) -> ModelOutput:
        options = value.decoder.options
        named = options.get("labels")
        takes = {spec.name for spec in DECODER_OPTIONS.get(value.decoder.name, ())}
        if not isinstance(named, str) or "labels" not in takes:
            return value
        at: KeyPath = ("outputs", index, "decoder", "options", "labels")
        names = self._of_metadata(at) if named == METADATA else self._of_file(named, at)
        # One name stands for those that could not be read: there is a problem already, and not a second one.
        found = {**options, "labels": names or ("?",) * _count(options.get("classes"))}
        return value.model_copy(update={"decoder": value.decoder.model_copy(update={"options": found})})

    def _of_file(self, named: str, at: KeyPath) -> tuple[str, ...]:
        path = inside(self._root, self._folder, named)
        if path is None:
            hint = "move it below the folder of fleet.yaml: that folder is what is reviewed and copied"
            self._report.add(self._source, at, f"{named} is outside of the manifest's folder", hint)
        elif why := why_no_file(path):
            hint = f"put a file of one class name a line there, write metadata for the names in the ONNX file, {_LIST}"
            self._report.add(self._source, at, f"{path} {why}", hint)
        else:
            try:
                return names_in_file(path)
            except (NoNames, OSError) as error:
                self._report.add(self._source, at, f"{path} {error}", f"write one class name a line, {_LIST}")
        return ()

    def _of_metadata(self, at: KeyPath) -> tuple[str, ...]:
        written = self._model.source.path
        path = inside(self._root, self._folder, written) if written is not None else None
        if written is None:
            hint = f"give the source by path, {_LIST}"
            self._report.add(self._source, at, "the metadata of a model that is fetched cannot be read here", hint)
        elif path is not None and not why_no_file(path):  # a missing file is noted where it is named
            try:
                return names_in_metadata(read_graph(path, file_sha256(path)).metadata)
            except NoNames as error:
                self._report.add(self._source, at, f"{path} {error}", f"name a file of one class name a line, {_LIST}")
            except (NotOnnx, OSError):
                return ()  # noted where the file is named
        return ()


def _count(classes: object) -> int:
    """Return how many names stand in for those that could not be read."""
    return classes if isinstance(classes, int) and not isinstance(classes, bool) and 0 < classes <= 100000 else 1
