"""A model's file to start from, made of what an ONNX file says of itself: `fleet init`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleet.errors import UsageError
from fleet.manifest.files.named_files import file_sha256
from fleet.manifest.proposal.images import FRAME
from fleet.manifest.proposal.inputs import propose_inputs
from fleet.manifest.proposal.inspected import Inspected, inspect_onnx
from fleet.manifest.proposal.model_yaml import model_text
from fleet.manifest.proposal.outputs import propose_outputs
from fleet.manifest.proposal.pictures import Pictures
from fleet.manifest.proposal.proposal import Head, numbers
from fleet.manifest.proposal.recognised import recognise

_NAME_MOST = 63
_NOT_TEXT = frozenset({"yes", "no", "on", "off", "true", "false", "null", "none", "y", "n"})


@dataclass(frozen=True)
class ModelDraft:
    """What is written for a model, and what was guessed."""

    name: str
    text: str
    """The model's file, YAML."""
    frames: Mapping[str, tuple[tuple[int, ...], str]]
    """Input → shape and type of one golden frame, without the batch of an image."""
    sequence: bool = False
    """Golden frames are one sequence: the model keeps state."""
    weights: tuple[str, ...] = ()
    """Files beside the ONNX file that hold weights, as it names them."""
    notes: tuple[str, ...] = ()
    """What was guessed and why, a line each."""
    quantized: bool = False
    """It carries scales of its own: int8 is what it runs at."""


def read_draft(path: Path, pictures: Pictures | None = None) -> ModelDraft:
    """Read an ONNX file; ``pictures`` of the robot's camera, where there are some.

    Raises UsageError for what no manifest can be made of.
    """
    found = recognise(inspect_onnx(path))
    if pictures is not None and (len(found.images) != 1 or len(found.graph.inputs) != 1):
        raise UsageError(
            f"{path}: pictures were given, and the model has other inputs than one picture",
            hint="leave --frames out, and write golden data for every input (docs/engines.md)",
        )
    graph, head = found.graph, found.head
    _refuse_integer_operators(graph)
    inputs = propose_inputs(found, pictures.size if pictures else FRAME)
    published, said = propose_outputs(head, {name: found.fixed.outputs[name] for name in found.outputs}, graph)
    name = model_name(path)
    quantized = "QuantizeLinear" in graph.operators
    text = model_text(
        _declared(path, name, graph),
        inputs.entries,
        published if found.images else [numbers(each) for each in published],
        found.states,
        _heading(graph, head),
        quantized=quantized,
        pictures=pictures,
    )
    notes = tuple(dict.fromkeys([*inputs.notes, *said]))
    return ModelDraft(name, text, inputs.frames, bool(found.states), graph.files, notes, quantized)


def _refuse_integer_operators(graph: Inspected) -> None:
    """Raise UsageError for a model that no engine is built from (`runtime.engines.graph.quantized` says the same)."""
    own = {"DynamicQuantizeLinear", "ConvInteger", "MatMulInteger"}
    found = sorted(each for each in graph.operators if each in own or each.startswith("QLinear"))
    if found:
        raise UsageError(
            f"{graph.path}: quantized already, by ONNX Runtime's own ({found[0]}): no engine is built from it",
            hint="give the float model; or quantize it to Q/DQ pairs (quant_format=QuantFormat.QDQ)",
        )


def model_name(path: Path) -> str:
    """Return a name for the model of a file: lower-case letters, digits and underscores, at most 63 of them.

    It begins with a letter, as the words of topics do, and is no word that YAML reads as something else.
    """
    name = re.sub(r"[^a-z0-9_]+", "_", path.stem.lower()).strip("_")
    if not name or name[0].isdigit() or name in _NOT_TEXT:
        name = f"model_{name}"
    return name[:_NAME_MOST].strip("_")


def _declared(path: Path, name: str, graph: Inspected) -> dict[str, Any]:
    """Return the keys of the model's file that are no inputs and outputs."""
    sums = {place: file_sha256(path.parent / place) for place in graph.files}
    return {
        "name": name,
        "source": {
            "path": f"onnx/{name}.onnx",
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            **({"data": sums} if sums else {}),
        },
        "golden": {"data": f"golden/{name}.npz"},
    }


def _heading(graph: Inspected, head: Head | None) -> tuple[str, ...]:
    family = f"{head.family}{'' if head.sure else ', a guess'}" if head else "no family that is known here"
    return (
        f"Written by fleet init from {graph.path.name}: {family}. {graph.producer or 'Exporter not named'}.",
        "A comment says what the line below it was taken from: check what the file itself does not say.",
    )
