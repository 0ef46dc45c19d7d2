"""Text detectors of the DB family: a map of probabilities that text is there."""

from __future__ import annotations

from fleet.manifest.proposal.heads.depth import map_of
from fleet.manifest.proposal.heads.subject import Subject
from fleet.manifest.proposal.images import FRAME
from fleet.manifest.proposal.proposal import Head, Preprocessing, Published

_PADDLE = Preprocessing(
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    color="bgr",
    why="PaddleOCR normalises BGR with ImageNet's numbers, without a letterbox",
)


def recognise(subject: Subject) -> Head | None:
    """Return text boxes: one plane of a sigmoid, in a graph of Paddle's exporter or one called after text."""
    found = map_of(subject)
    if found is None or subject.graph.ends_in(found[0]) != "Sigmoid":
        return None
    producer = subject.graph.producer.lower()
    paddle = "paddle" in producer or any(
        node.name.startswith("p2o.") for node in list(subject.graph.model.graph.node)[-3:]
    )
    if not paddle and not subject.named("text", "ocr", "dbnet"):
        return None
    why = f"one plane {list(found[1])} of a sigmoid, " + ("exported from Paddle" if paddle else "called after text")
    published = (Published("text", "text_boxes", {}, found[0], why=f"{why}: the DB head of PP-OCR"),)
    note = "a segmentation of one class looks the same: then name decoder mask"
    return Head("text detector", published, _PADDLE, FRAME, sure=False, notes=(note,))
