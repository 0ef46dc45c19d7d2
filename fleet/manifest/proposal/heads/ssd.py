"""SSD and YOLOv4: boxes and scores of every anchor in two outputs, nothing selected yet."""

from __future__ import annotations

from fleet.manifest.proposal.heads.detr import pair_of
from fleet.manifest.proposal.heads.subject import PLAIN_STRETCH, Subject
from fleet.manifest.proposal.proposal import Head, Preprocessing, Published

_SSD = Preprocessing(scale=1.0 / 128.0, mean=(127.0 / 128.0,) * 3, why="SSD's usual (value - 127) / 128")


def recognise(subject: Subject) -> Head | None:
    """Return boxes of scores that the graph has made already."""
    pair = pair_of(subject)
    if pair is None or subject.image is None:
        return None
    boxes, scores, count, classes = pair
    ending = subject.graph.ends_in(scores)
    softmax = ending == "Softmax"
    if not softmax and "Sigmoid" not in subject.graph.before(scores, 6):
        return None
    background = "first" if softmax and classes > 1 else "none"
    real = classes - (background != "none")
    options = {"head": "ssd", "background": background, "layout": "xyxy", "normalized": True, **subject.classes(real)}
    why = f"boxes and scores of {count} anchors, {classes} classes" + (", the first one background" if softmax else "")
    return Head(
        "SSD",
        (Published("boxes", "boxes", options, tensors={"scores": scores, "boxes": boxes}, why=why),),
        _SSD if softmax else PLAIN_STRETCH,
        (300, 300),
        sure=False,
        notes=("boxes are taken for corners from 0 to 1: check layout and normalized, and which class is background",),
    )
