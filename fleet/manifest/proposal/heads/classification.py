"""Classes of the whole picture: timm, torchvision, Keras, Ultralytics' classifiers."""

from __future__ import annotations

from fleet.manifest.proposal.heads.subject import IMAGENET, Subject
from fleet.manifest.proposal.images import SIDE
from fleet.manifest.proposal.proposal import Head, Preprocessing, Published

_IMAGENET_COUNTS = frozenset({1000, 1001, 21841, 21843, 11821, 365, 400})
"""Classes of public data sets: ImageNet with and without background, 21k, 12k, Places, Kinetics."""
_NAMES = ("logit", "prob", "softmax", "score", "class", "label", "cls")
_TASK = Preprocessing(why="Ultralytics' classifiers take RGB from 0 to 1, cut from the picture's middle")
_KERAS = Preprocessing(
    scale=1.0 / 127.5, mean=(1.0, 1.0, 1.0), why="values from -1 to 1, as most of Keras' applications take them"
)


def recognise(subject: Subject) -> Head | None:
    """Return classes of the whole picture. A row of numbers alone could be features: something else must say it."""
    if subject.image is None or len(subject.outputs) != 1:
        return None
    ((name, tensor),) = subject.outputs.items()
    shape = tensor.shape
    if shape is None or len(shape) < 2 or not tensor.dtype.startswith("float") or shape[0] not in (1, None):
        return None
    count = shape[1] if all(size == 1 for size in shape[2:]) else None
    if count is None or count < 2:
        return None
    ending, names = subject.graph.ends_in(name), subject.metadata.names
    named = len(names) == count
    proven = named or subject.metadata.task == "classify" or ending == "Softmax" or count in _IMAGENET_COUNTS
    if not proven and not any(part in name.lower() for part in _NAMES):
        return None
    options: dict[str, object] = {} if ending in ("Softmax", "Sigmoid") else {"softmax": True}
    if named:
        options["labels"] = list(names)
    said = {"Softmax": "a softmax", "Sigmoid": "sigmoids"}.get(ending, f"logits (it ends in {ending or 'nothing'})")
    preprocessing = _TASK if subject.metadata.task == "classify" else IMAGENET
    if subject.image.layout[-1] == "c":
        preprocessing = _KERAS
    published = (Published("classes", "classification", options, name, why=f"{count} classes, {said}"),)
    return Head("classification", published, preprocessing, (SIDE, SIDE), sure=proven)
