"""Boxes that the graph selected itself, in several outputs: EfficientNMS, TensorFlow's four, torchvision's three."""

from __future__ import annotations

from typing import Any

from fleet.manifest.proposal.heads.subject import PLAIN_STRETCH, ULTRALYTICS, Subject, role_of
from fleet.manifest.proposal.proposal import Head, Preprocessing, Published

_TRT = frozenset({"EfficientNMS_TRT", "BatchedNMS_TRT", "BatchedNMSDynamic_TRT", "EfficientNMS_ONNX_TRT"})
_BYTES = Preprocessing(scale=1.0, why="TensorFlow's detectors take bytes and resize by themselves")
COCO_PAPER = 91
"""Numbers that COCO's classes have in its papers, with gaps."""


def recognise(subject: Subject) -> Head | None:
    """Return selected boxes."""
    tensors = _roles(subject)
    if tensors is None or subject.image is None:
        return None
    plugin = bool(subject.graph.operators & _TRT)
    tensorflow = all("detection" in tensors[role].lower() for role in ("boxes", "scores", "classes"))
    options: dict[str, Any] = {"head": "nms", "layout": "yxyx" if tensorflow else "xyxy"}
    if tensorflow:
        options.update(normalized=True, first_class=1)
    elif not plugin and "NonMaxSuppression" in subject.graph.operators:
        options["first_class"] = 1
    names = len(subject.metadata.names)
    options.update(subject.classes(names or (COCO_PAPER if not plugin else 80)))
    family = "TensorFlow detector" if tensorflow else "NMS by a TensorRT plugin" if plugin else "selected boxes"
    why = ", ".join(f"{role} in {name}" for role, name in tensors.items())
    counted = () if names else ("the file names no classes: correct classes, or give labels",)
    return Head(
        family,
        (Published("boxes", "boxes", options, tensors=tensors, why=why),),
        _BYTES if tensorflow else ULTRALYTICS if plugin else PLAIN_STRETCH,
        subject.usual if not tensorflow else (320, 320),
        unused=tuple(name for name in subject.outputs if name not in tensors.values()),
        sure=bool(names),
        notes=(*counted, "check layout, normalized and first_class: exporters differ in them"),
    )


def _roles(subject: Subject) -> dict[str, str] | None:
    """Return role → output, by names, else by shapes and types; None where these are not such outputs."""
    by_name: dict[str, str] = {}
    for name in subject.outputs:
        if role := role_of(name):
            by_name.setdefault(role, name)
    wanted = ("boxes", "scores", "classes")
    found = by_name if all(role in by_name for role in wanted) else _by_shape(subject)
    if found is None or not all(_fits(subject, role, found[role]) for role in wanted):
        return None
    count = found.get("count")
    if count is not None and not _fits(subject, "count", count):
        count = None
    return {role: found[role] for role in wanted} | ({"count": count} if count else {})


def _by_shape(subject: Subject) -> dict[str, str] | None:
    boxes = [name for name in subject.outputs if _fits(subject, "boxes", name)]
    lists = [name for name in subject.outputs if name not in boxes and _fits(subject, "scores", name, any_type=True)]
    classes = [name for name in lists if subject.outputs[name].dtype.startswith(("int", "uint"))]
    scores = [name for name in lists if name not in classes]
    if len(boxes) != 1 or len(classes) != 1 or len(scores) != 1:
        return None
    return {"boxes": boxes[0], "scores": scores[0], "classes": classes[0]}


def _fits(subject: Subject, role: str, name: str, *, any_type: bool = False) -> bool:
    tensor = subject.outputs[name]
    shape = tensor.shape
    if shape is None or len(shape) > 3:
        return False
    if role == "boxes":
        return len(shape) >= 2 and shape[-1] == 4 and tensor.dtype.startswith("float")
    if role == "count":
        return all(size in (1, None) for size in shape)
    if role == "scores" and not any_type and not tensor.dtype.startswith("float"):
        return False
    return len(shape) in (1, 2) and (len(shape) == 1 or shape[0] in (1, None)) and shape[-1] != 1
