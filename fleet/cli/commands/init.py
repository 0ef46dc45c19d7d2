"""`fleet init`: a manifest that validates, made from an ONNX file of the user's own, or from a device that is asked."""

from __future__ import annotations

import dataclasses
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from fleet.cli import options
from fleet.cli.commands.device.profiles import write_new
from fleet.cli.first_fleet import FIRST_MODEL, TOPIC, Start, asked_device, first_model
from fleet.cli.ui.console import emit
from fleet.cli.wiring import Wiring
from fleet.errors import ManifestError, UsageError
from fleet.manifest.load import load_manifest
from fleet.manifest.proposal.model_draft import ModelDraft, read_draft
from fleet.manifest.proposal.noise import write_noise
from fleet.manifest.proposal.pictures import CALIBRATION, Pictures, read_pictures
from runtime.contract.printable import printable

_FRAMES_LATER = re.compile("(, | and )put real frames into the golden data")


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
    frames: Annotated[
        Path | None,
        typer.Option("--frames", help="Pictures of the robot's camera, one size: golden frames, and int8's from 8 on."),
    ] = None,
    fleet: Annotated[str, typer.Option("--fleet", help="Name of the fleet.")] = "my-fleet",
    as_json: options.Json = False,
) -> None:
    """Write a manifest to start from. Never overwrites a file."""
    folder = folder or manifest
    if model is None and robot is None:
        raise UsageError(
            "no model is given, and no device to ask",
            hint="fleet init FOLDER --model path/to/model.onnx, or --robot user@host, or both",
        )
    if (folder / "fleet.yaml").exists():
        raise UsageError(f"{folder / 'fleet.yaml'} exists", hint="choose another folder, or edit that file")
    with tempfile.TemporaryDirectory(prefix="jetfleet-init-") as place:
        source = model or _first_model(Path(place))
        pictures = read_pictures(frames) if frames is not None else None
        draft = read_draft(source, pictures)
        start = Start(fleet, draft.name)
        if robot is not None:
            start = asked_device(Wiring(folder), folder, start, robot)
            draft = dataclasses.replace(draft, text=draft.text.replace(TOPIC, start.topic))
        if draft.quantized:
            start = dataclasses.replace(start, precision="int8")
        written = _write(folder, source, draft, start, Path(place) / "trial", pictures)
    now = start.now if frames is None else _FRAMES_LATER.sub("", start.now)
    for note in draft.notes:  # guesses are for a person to read: not in the way of what is piped
        print(f"note: {printable(note)}", file=sys.stderr)
    emit(
        as_json,
        {"written": [str(path) for path in written], "found": list(start.found), "notes": list(draft.notes)},
        lambda console: console.print(
            "\n".join(
                [
                    *(f"found {line}" for line in start.found),
                    *(f"wrote {path}" for path in written),
                ]
            )
            + f"\nNow: {now}; `fleet validate` names what is left.",
            markup=False,
        ),
    )


def _first_model(place: Path) -> Path:
    """Write the model of a fleet that has none yet."""
    path = place / f"{FIRST_MODEL}.onnx"
    path.write_bytes(first_model())
    return path


def _write(
    folder: Path, model: Path, draft: ModelDraft, start: Start, trial: Path, pictures: Pictures | None
) -> list[Path]:
    """Write the manifest, once a copy of it elsewhere has been found valid. Raises UsageError."""
    _fill(trial, model, draft, start, pictures)
    try:
        load_manifest(trial)
    except ManifestError as error:
        problems = "; ".join(f"{problem.path}: {problem.message}" for problem in error.problems[:3])
        raise UsageError(
            f"{model}: no valid manifest can be made of it: {problems}",
            hint="write the manifest by hand (fleet docs manifest), or export the model otherwise",
        ) from error
    return _fill(folder, model, draft, start, pictures)


def _fill(folder: Path, model: Path, draft: ModelDraft, start: Start, pictures: Pictures | None) -> list[Path]:
    name, models = draft.name, folder / "models"
    files = {
        folder / "fleet.yaml": start.fleet_text(),
        folder / "profiles" / f"{start.profile}.yaml": start.profile_text,
        models / f"{name}.yaml": draft.text,
    }
    for path, text in files.items():
        write_new(path, text)
    onnx, golden = models / "onnx" / f"{name}.onnx", models / "golden" / f"{name}.npz"
    copied = {onnx: model, **{onnx.parent / place: model.parent / place for place in draft.weights}}
    if pictures is not None and pictures.calibrate and not draft.quantized:
        copied.update({models / CALIBRATION / file.name: file for file in pictures.files})
    for target, source in copied.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    if pictures is None:
        write_noise(golden, draft.frames, sequence=draft.sequence)
    else:
        ((tensor, (shape, _)),) = draft.frames.items()
        pictures.write_golden(golden, tensor, shape[-1])
    return [*files, *copied, golden]
