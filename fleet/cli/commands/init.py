"""`fleet init`: a manifest that validates, made from an ONNX file of the user's own."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from fleet.cli import options
from fleet.cli.commands.device.profiles import write_new
from fleet.cli.first_fleet import FIRST_MODEL, Start, asked_device, first_model
from fleet.cli.ui.console import emit
from fleet.cli.wiring import Wiring
from fleet.errors import UsageError
from fleet.manifest.placeholders import mark_as_noise
from runtime.contract.engine.onnx_tensors import external_tensors

FRAME = (480, 640)
"""Height and width written for the camera; the user sets their own."""


def run(
    folder: Annotated[Path | None, typer.Argument(help="Where the manifest goes. Default: that of -m.")] = None,
    manifest: options.ManifestOption = options.DEFAULT_MANIFEST,
    model: Annotated[
        Path | None, typer.Option("--model", help="An ONNX file: read for its inputs and outputs.")
    ] = None,
    robot: Annotated[
        str | None,
        typer.Option("--robot", metavar="USER@HOST", help="A device to ask, over SSH, what it is: user@host:port."),
    ] = None,
    fleet: Annotated[str, typer.Option("--fleet", help="Name of the fleet.")] = "my-fleet",
    as_json: options.Json = False,
) -> None:
    """Write a manifest to start from. Never overwrites a file."""
    folder = folder or manifest
    if model is None and robot is None:
        raise UsageError(
            "which model shall the robots run?",
            hint="fleet init FOLDER --model path/to/model.onnx (one image input), or --robot user@host, or both",
        )
    if (folder / "fleet.yaml").exists():
        raise UsageError(f"{folder / 'fleet.yaml'} exists", hint="choose another folder, or edit that file")
    name = FIRST_MODEL if model is None else re.sub(r"[^a-z0-9_]+", "_", model.stem.lower()).strip("_") or "model"
    content = first_model() if model is None else b""
    declared = _model(model, name) if model is not None else _declared(content, name)
    start = Start(fleet, name)
    if robot is not None:
        start = asked_device(Wiring(folder), folder, start, robot)
        declared["inputs"][0]["topic"] = start.topic
    written = _write(folder, model or content, start, declared)
    emit(
        as_json,
        {"written": [str(path) for path in written], "found": list(start.found)},
        lambda console: console.print(
            "\n".join([*(f"found {line}" for line in start.found), *(f"wrote {path}" for path in written)])
            + f"\nNow: {start.now}; `fleet validate` names what is left.",
            markup=False,
        ),
    )


def _write(folder: Path, model: Path | bytes, start: Start, declared: dict[str, Any]) -> list[Path]:
    name = start.model
    onnx = folder / "models" / "onnx" / f"{name}.onnx"
    files = {
        folder / "fleet.yaml": start.fleet_text(),
        folder / "profiles" / f"{start.profile}.yaml": start.profile_text,
        folder / "models" / f"{name}.yaml": yaml.safe_dump(
            declared, sort_keys=False, default_flow_style=None, width=110
        ),
    }
    for path, text in files.items():
        write_new(path, text)
    onnx.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(model, bytes):
        onnx.write_bytes(model)
    else:
        shutil.copyfile(model, onnx)
    golden = folder / "models" / "golden" / f"{name}.npz"
    _write_golden(golden, declared["inputs"][0])
    return [*files, onnx, golden]


def _write_golden(path: Path, declared: dict[str, Any]) -> None:
    """Two frames of noise: enough to compare an engine with fp32, to be replaced by real frames."""
    import numpy as np

    channels = 1 if declared["encoding"] == "mono8" else 3
    frames = np.random.default_rng(0).integers(0, 256, (2, *FRAME, channels), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, allow_pickle=False, **{str(declared["tensor"]): frames})
    mark_as_noise(path)


def _model(path: Path, name: str) -> dict[str, Any]:
    return _declared(path.read_bytes() if path.is_file() else b"", name, path)


def _declared(content: bytes, name: str, path: Path = Path(FIRST_MODEL)) -> dict[str, Any]:
    graph = _graph(path, content)
    weights = {initializer.name for initializer in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs)
        raise UsageError(
            f"{path}: has {len(inputs)} inputs ({names})", hint="fleet init reads models of one image input"
        )
    shape = _shape(inputs[0])
    if len(shape) != 4 or shape[1] not in (1, 3):
        raise UsageError(
            f"{path}: input {inputs[0].name} has shape {shape}, not (1, 3 or 1, height, width)",
            hint="export the model with NCHW image input",
        )
    return {
        "name": name,
        "source": {"path": f"onnx/{name}.onnx", "sha256": hashlib.sha256(content).hexdigest()},
        "inputs": [
            {
                "tensor": inputs[0].name,
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
        ],
        "outputs": [
            {"tensor": value.name, "topic": f"~/{name}/output_{index}", "decoder": {"name": "tensor"}}
            for index, value in enumerate(graph.output)
        ],
        "golden": {"data": f"golden/{name}.npz"},
        "gates": {"accuracy": {"fp32": {"min_cosine": 0.999}, "fp16": {"min_cosine": 0.999}}},
    }


def _graph(path: Path, content: bytes) -> Any:
    import onnx

    try:
        if not content:
            raise ValueError("there is no such file, or it is empty")
        model = onnx.load_model_from_string(content)
    except Exception as error:
        raise UsageError(
            f"{path}: not an ONNX model: {error}", hint="give a file written by an ONNX exporter"
        ) from error
    elsewhere = next(external_tensors(model), None)
    if elsewhere is not None:
        raise UsageError(
            f"{path}: keeps its weights in other files ({elsewhere[:80]!a})",
            hint="save it as one file: onnx.save_model(model, path, save_as_external_data=False)",
        )
    if not model.graph.node:
        raise UsageError(
            f"{path}: not an ONNX model: its graph is empty", hint="give a file written by an ONNX exporter"
        )
    return model.graph


def _shape(value: Any) -> list[int]:
    """Return the shape with free dimensions set: batch 1, height and width 224."""
    sizes = [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
    free = {0: 1, 1: 3}
    return [size if size > 0 else free.get(axis, 224) for axis, size in enumerate(sizes)]
