"""DETR and its kin: logits of classes and boxes from 0 to 1, one pair a query, in two outputs."""

from __future__ import annotations

from fleet.manifest.proposal.heads.subject import IMAGENET, PLAIN_STRETCH, Subject, role_of
from fleet.manifest.proposal.proposal import Head, Published

_QUERIES = 1000
_DETR = 100
"""Queries of DETR, Conditional DETR's half, and YOLOS: a softmax over the classes and "no object"."""


def pair_of(subject: Subject) -> tuple[str, str, int, int] | None:
    """Return the outputs of boxes (1, N, 4) and of classes (1, N, C), N and C; None unless there is just one pair."""
    shapes = {name: shape for name, shape in subject.of_rank(3).items() if shape[0] in (1, None)}
    boxes = [name for name, shape in shapes.items() if shape[2] == 4]
    if len(boxes) > 1:
        boxes = [name for name in boxes if role_of(name) == "boxes"]
    if len(boxes) != 1:
        return None
    count = shapes[boxes[0]][1]
    others = [name for name, shape in shapes.items() if name != boxes[0] and shape[1] == count]
    if len(others) > 1:
        others = [name for name in others if role_of(name) in ("scores", "classes")]
    if len(others) != 1 or count is None or (classes := shapes[others[0]][2]) is None or classes < 1:
        return None
    return boxes[0], others[0], count, classes


def recognise(subject: Subject) -> Head | None:
    """Return boxes of queries."""
    pair = pair_of(subject)
    if pair is None or subject.image is None or pair[2] > _QUERIES:
        return None
    boxes, scores, count, classes = pair
    if subject.graph.ends_in(scores) in ("Sigmoid", "Softmax") or subject.graph.ends_in(boxes) not in (
        "Sigmoid", "Clip", "Add", "Gemm", "Concat",
    ):  # fmt: skip
        return None
    softmax = count == _DETR or classes in (91 + 1, 80 + 1)
    real = classes - softmax
    if real < 1:
        return None
    rule = {"softmax": True} if softmax else {"sigmoid": True}
    meant = "a softmax whose last class is no object" if softmax else "a sigmoid of every class"
    options = {"head": "detr", **rule, **subject.classes(real)}
    why = f"{count} queries with logits of {classes} classes and boxes from 0 to 1: {meant}, by the number of queries"
    transformers = subject.image.name == "pixel_values"
    preprocessing = IMAGENET if softmax or (transformers and count != 300) else PLAIN_STRETCH
    return Head(
        "DETR" if softmax else "RT-DETR, Deformable DETR",
        (Published("boxes", "boxes", options, tensors={"scores": scores, "boxes": boxes}, why=why),),
        preprocessing,
        subject.usual,
        unused=tuple(name for name in subject.outputs if name not in (boxes, scores)),
        sure=False,
        notes=("DETR itself ends in a softmax with a class for no object, its successors in sigmoids: check which",),
    )
