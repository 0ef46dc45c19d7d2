"""`fleet init`: a manifest that validates, made from an ONNX file of the user's own."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from fleet.cli import options
from fleet.cli.ui.console import emit
from fleet.errors import ManifestError, UsageError
from fleet.manifest.load import load_manifest
from fleet.manifest.model_draft import ModelDraft, read_draft, write_noise
from fleet.manifest.placeholders import REGISTRY, ROBOT_HOST

FLEET = """\
apiVersion: jetfleet/v1
fleet: {fleet}
version: 0.1.0                       # raise it with every change: a published version never changes
registry: {registry}:5000/{fleet}
trust: unsigned                      # robots take any release; who must sign instead: docs/trust.md
profiles: [profiles/sim-x86.yaml]
models: [models/{model}.yaml]
defaults: {{profile: sim-x86, user: jetson}}
groups:
  first: {{models: [{{model: {model}, precision: fp32}}]}}
robots:
  - {{name: robot-001, host: {host}, group: first}}
rollout: {{waves: [1, 100%], soak: 30s, on_failure: revert}}
# every key is explained by: fleet docs manifest
"""

PROFILE = """\
name: sim-x86
platform: linux/amd64
backend: onnxruntime
base_image: debian:bookworm-slim
ros_distro: kilted
builder: {endpoint: local, parallel: 2}
"""


def run(
    folder: Annotated[Path | None, typer.Argument(help="Where the manifest goes. Default: that of -m.")] = None,
    manifest: options.ManifestOption = options.DEFAULT_MANIFEST,
    model: Annotated[
        Path | None, typer.Option("--model", help="An ONNX file: read for its inputs and outputs.")
    ] = None,
    fleet: Annotated[str, typer.Option("--fleet", help="Name of the fleet.")] = "my-fleet",
    as_json: options.Json = False,
) -> None:
    """Write a manifest to start from. Never overwrites a file."""
    folder = folder or manifest
    if model is None:
        raise UsageError("no model is given", hint="fleet init FOLDER --model path/to/model.onnx (one image input)")
    if (folder / "fleet.yaml").exists():
        raise UsageError(f"{folder / 'fleet.yaml'} exists", hint="choose another folder, or edit that file")
    draft = read_draft(model)
    written = _write(folder, model, draft, fleet)
    emit(
        as_json,
        {"written": [str(path) for path in written]},
        lambda console: console.print(
            "\n".join([*(f"wrote {path}" for path in written), *(f"note: {note}" for note in draft.notes)])
            + "\nNow: set registry, hosts and topics, put real frames into the golden data; `fleet validate` "
            "names what is left."
        ),
    )


def _write(folder: Path, model: Path, draft: ModelDraft, fleet: str) -> list[Path]:
    """Write the manifest, once a copy of it elsewhere has been found valid. Raises UsageError."""
    with tempfile.TemporaryDirectory(prefix="jetfleet-init-") as name:
        trial = Path(name) / "manifests"
        _fill(trial, model, draft, fleet)
        try:
            load_manifest(trial)
        except ManifestError as error:
            problems = "; ".join(f"{problem.path}: {problem.message}" for problem in error.problems[:3])
            raise UsageError(
                f"{model}: no valid manifest can be made of it: {problems}",
                hint="write the manifest by hand (fleet docs manifest), or export the model otherwise",
            ) from error
    return _fill(folder, model, draft, fleet)


def _fill(folder: Path, model: Path, draft: ModelDraft, fleet: str) -> list[Path]:
    name, models = draft.name, folder / "models"
    files = {
        folder / "fleet.yaml": FLEET.format(fleet=fleet, model=name, registry=REGISTRY, host=ROBOT_HOST),
        folder / "profiles" / "sim-x86.yaml": PROFILE,
        models / f"{name}.yaml": draft.text,
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    onnx, golden = models / "onnx" / f"{name}.onnx", models / "golden" / f"{name}.npz"
    copied = {onnx: model, **{onnx.parent / place: model.parent / place for place in draft.weights}}
    for target, source in copied.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    write_noise(golden, draft)
    return [*files, *copied, golden]
