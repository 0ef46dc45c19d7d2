"""A model's file to start from, made of what an ONNX file says of itself: `fleet init`."""

from __future__ import annotations

import ast
import hashlib
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleet.errors import UsageError
from fleet.manifest.files.named_files import file_sha256, why_no_file
from fleet.manifest.placeholders import mark_as_noise
from runtime.contract.engine.onnx_tensors import external_files, why_not_beside

FRAME = (480, 640)
"""Height and width written for the camera; the user sets their own."""
SIDE = 224
"""Of the network's input, where neither the graph nor its metadata says."""
_SIDE_MOST = 16384
_TENSOR_MOST = 65536
_TENSOR_USUAL = 4096
_NAME_MOST = 63
_NOT_TEXT = frozenset({"yes", "no", "on", "off", "true", "false", "null", "none", "y", "n"})
_EXPORT = "give a file written by an ONNX exporter"


@dataclass(frozen=True)
class ModelDraft:
    """What is written for a model, and what was guessed."""

    name: str
    text: str
    """The model's file, YAML."""
    tensor: str
    """Its one input."""
    channels: int
    """Of the camera's frames."""
    weights: tuple[str, ...] = ()
    """Files beside the ONNX file that hold weights, as it names them."""
    notes: tuple[str, ...] = ()


def read_draft(path: Path) -> ModelDraft:
    """Read an ONNX file. Raises UsageError for what no manifest can be made of."""
    model = _model(path)
    graph = model.graph
    value = _image_input(path, graph)
    shape, notes = _shape(path, value, _metadata_size(model))
    name = model_name(path)
    weights = _weights(path, model)
    declared = {
        "name": name,
        "source": {
            "path": f"onnx/{name}.onnx",
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            **({"data": {_Quoted(place): file_sha256(path.parent / place) for place in weights}} if weights else {}),
        },
        "inputs": [_input(value.name, shape)],
        "outputs": [_output(output, index, name) for index, output in enumerate(graph.output)],
        "golden": {"data": f"golden/{name}.npz"},
        "gates": {"accuracy": {"fp32": {"min_cosine": 0.999}, "fp16": {"min_cosine": 0.999}}},
    }
    return ModelDraft(name, _yaml(declared), value.name, 3 if shape[1] == 3 else 1, weights, notes)


def model_name(path: Path) -> str:
    """Return a name for the model of a file: lower-case letters, digits and underscores, at most 63 of them.

    It begins with a letter, as the words of topics do, and is no word that YAML reads as something else.
    """
    name = re.sub(r"[^a-z0-9_]+", "_", path.stem.lower()).strip("_")
    if not name or name[0].isdigit() or name in _NOT_TEXT:
        name = f"model_{name}"
    return name[:_NAME_MOST].strip("_")


def write_noise(path: Path, draft: ModelDraft) -> None:
    """Two frames of noise: enough to compare an engine with fp32, to be replaced by real frames."""
    import numpy as np

    frames = np.random.default_rng(0).integers(0, 256, (2, *FRAME, draft.channels), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not by numpy.savez: an input may be called like one of its own parameters.
    with zipfile.ZipFile(path, "x", zipfile.ZIP_DEFLATED) as archive, archive.open(f"{draft.tensor}.npy", "w") as file:
        np.lib.format.write_array(file, frames, allow_pickle=False)
    mark_as_noise(path)


def _model(path: Path) -> Any:
    import onnx

    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:
        raise UsageError(f"{path}: not an ONNX model: {error}", hint=_EXPORT) from error
    if not model.graph.node:
        raise UsageError(f"{path}: not an ONNX model: its graph is empty", hint=_EXPORT)
    return model


def _image_input(path: Path, graph: Any) -> Any:
    weights = {initializer.name for initializer in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs)
        raise UsageError(
            f"{path}: has {len(inputs)} inputs ({names})", hint="fleet init reads models of one image input"
        )
    element = inputs[0].type.tensor_type.elem_type
    if element != _FLOAT:
        import onnx

        kind = onnx.TensorProto.DataType.Name(element).lower()
        raise UsageError(
            f"{path}: input {inputs[0].name} is {kind}, not float32",
            hint="export the model with a float32 input: the camera's frames are converted to that in the engine",
        )
    return inputs[0]


_FLOAT = 1
"""Of onnx.TensorProto.DataType."""


def _shape(path: Path, value: Any, size: tuple[int, int] | None) -> tuple[list[int], tuple[str, ...]]:
    """Return the shape with free dimensions set (batch 1, sides by metadata or 224), and what was guessed."""
    sizes = [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
    rows, columns = size or (SIDE, SIDE)
    free = {0: 1, 1: 3, 2: rows, 3: columns}
    shape = [size if size > 0 else free.get(axis, SIDE) for axis, size in enumerate(sizes)]
    if len(shape) != 4 or shape[1] not in (1, 3):
        raise UsageError(
            f"{path}: input {value.name} has shape {shape}, not (1, 3 or 1, height, width)",
            hint="export the model with NCHW image input",
        )
    if shape[0] != 1:
        raise UsageError(f"{path}: input {value.name} takes {shape[0]} frames at a time", hint="export with batch 1")
    if all(given > 0 for given in sizes[2:]):
        return shape, ()
    source = "its metadata say so" if size else "the file does not say: set what it was trained with"
    return shape, (f"the network's input is {shape[3]}x{shape[2]} (width x height): {source}",)


def _metadata_size(model: Any) -> tuple[int, int] | None:
    """Return rows and columns that the exporter wrote down (Ultralytics: ``imgsz``), None where it did not."""
    said = next((entry.value for entry in model.metadata_props if entry.key == "imgsz"), "")
    try:
        written: Any = ast.literal_eval(said) if said else ()
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    sides = (written, written) if isinstance(written, int) else written
    if not isinstance(sides, (list, tuple)) or len(sides) != 2:
        return None
    fits = all(isinstance(side, int) and 0 < side <= _SIDE_MOST for side in sides)
    return (sides[0], sides[1]) if fits else None


def _weights(path: Path, model: Any) -> tuple[str, ...]:
    files = external_files(model)
    for place in files:
        if why := why_not_beside(place) or why_no_file(path.parent / place):
            raise UsageError(
                f"{path}: keeps tensor {files[place][:80]!a} in {place[:80]!a}, which {why}",
                hint="put both files together, or save it as one: onnx.save_model(model, path)",
            )
    return tuple(files)


def _input(name: str, shape: list[int]) -> dict[str, Any]:
    return {
        "tensor": _Quoted(name),
        "shape": shape,
        "topic": "/camera/image_raw",
        "encoding": "rgb8" if shape[1] == 3 else "mono8",
        "width": FRAME[1],
        "height": FRAME[0],
        "preprocess": {
            "color": "rgb" if shape[1] == 3 else "gray",
            "mean": [0.0] * shape[1],
            "std": [1.0] * shape[1],
        },
    }


def _output(value: Any, index: int, name: str) -> dict[str, Any]:
    """Return an output as it is, on a topic below the node's name."""
    decoder: dict[str, Any] = {"name": "tensor"}
    count = 1
    for dimension in value.type.tensor_type.shape.dim:
        count *= max(dimension.dim_value, 1)
    if count > _TENSOR_USUAL:
        decoder["options"] = {"max_elements": min(count, _TENSOR_MOST)}
    return {"tensor": _Quoted(value.name), "topic": f"~/{name}/output_{index}", "decoder": decoder}


class _Quoted(str):
    """Somebody's name of a tensor or file: whatever it looks like, it is a text."""

    __slots__ = ()


def _yaml(declared: dict[str, Any]) -> str:
    import yaml

    class Dumper(yaml.SafeDumper):
        pass

    Dumper.add_representer(
        _Quoted, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style='"')
    )
    return str(yaml.dump(declared, Dumper=Dumper, sort_keys=False, default_flow_style=None, width=110))
