"""Entries of ``inputs`` for what was recognised, with the reasons, and one golden frame's shape of each."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fleet.errors import UsageError
from fleet.manifest.proposal.images import FRAME, adjusted, declared
from fleet.manifest.proposal.model_yaml import Entry
from fleet.manifest.proposal.proposal import Preprocessing
from fleet.manifest.proposal.vectors import Vector, constants_of, vector_of

if TYPE_CHECKING:
    from fleet.manifest.proposal.images import Image
    from fleet.manifest.proposal.recognised import Recognised

TOPIC = "/camera/image_raw"
_WORD_MOST = 63


@dataclass
class Inputs:
    """What is written under ``inputs``."""

    entries: list[Entry] = field(default_factory=list)
    frames: dict[str, tuple[tuple[int, ...], str]] = field(default_factory=dict)
    """Input → shape and type of one golden frame."""
    notes: list[str] = field(default_factory=list)


def propose_inputs(found: Recognised, frame: tuple[int, int] = FRAME) -> Inputs:
    """Return the entries, for a camera whose frames have these rows and columns.

    Raises UsageError for an input that no message can fill.
    """
    made = Inputs()
    wanted = found.head.preprocessing if found.head else Preprocessing()
    for index, image in enumerate(found.images):
        topic = TOPIC if index == 0 else f"/camera_{index + 1}/image_raw"
        _picture(made, found, image, wanted, topic, frame)
    kept = {image.name for image in found.images}
    for state in found.states:
        made.notes.append(f"state: {state.input} takes {state.output} of the frame before: {state.why}")
        kept.add(state.input)
    rest = tuple(name for name in found.graph.inputs if name not in kept)
    for constant in constants_of(found.graph, rest, found.size if found.images else None):
        shape = {} if constant.shape is None else {"shape": constant.shape}
        made.entries.append(Entry(constant.name, {"constant": constant.value, **shape}, (constant.why,)))
        made.notes.append(f"input {constant.name}: {constant.why}")
        kept.add(constant.name)
    topics: set[str] = set()
    for vector in (vector_of(found.graph, name) for name in rest if name not in kept):
        made.entries.append(Entry(vector.name, _vector(vector, topics), (vector.why,)))
        made.frames[vector.name] = (_frame_shape(vector), vector.dtype)
        made.notes.append(f"input {vector.name}: {vector.why}")
    if not made.frames:
        raise UsageError(
            f"{found.graph.path}: every input is a constant or a state: nothing feeds it",
            hint="export the model with an input that a message brings",
        )
    return made


def _picture(
    made: Inputs, found: Recognised, image: Image, family: Preprocessing, topic: str, frame: tuple[int, int]
) -> None:
    wanted = adjusted(family, image, found.graph)
    shape = image.shape(found.size)
    size = f"{shape[image.layout.index('w')]}x{shape[image.layout.index('h')]}"
    why = [
        f"{image.dtype} {found.graph.inputs[image.name].shown}, {image.layout}: a picture of {size} (width x height)"
    ]
    if image.rows is None or image.columns is None:
        source = found.size_why or "the file does not say: set what it was trained with"
        why.append(f"{size}: {source}")
        made.notes.append(f"the network's input is {size} (width x height): {source}")
    why.append(f"preprocess: {wanted.why}")
    made.notes.append(f"input {image.name}: {wanted.why}")
    values = declared(image, found.size, wanted, frame)
    made.entries.append(Entry(image.name, {"topic": topic, **values}, tuple(why)))
    made.frames[image.name] = ((values["height"], values["width"], image.channels), "uint8")


def _vector(vector: Vector, topics: set[str]) -> dict[str, Any]:
    """Return the entry; its topic is added to ``topics``, which no two inputs share."""
    word = re.sub(r"[^A-Za-z0-9_]+", "_", vector.name).strip("_")
    word = (word if word and not word[0].isdigit() else f"input_{word}".strip("_"))[:_WORD_MOST]
    while word in topics:
        word += "_"
    topics.add(word)
    kind = {} if vector.dtype == "float32" else {"dtype": vector.dtype}
    return {"shape": vector.shape, **kind, "topic": f"/{word}", "type": vector.message}


def _frame_shape(vector: Vector) -> tuple[int, ...]:
    return tuple(vector.shape[1:]) if vector.shape[:1] == [1] else tuple(vector.shape)
