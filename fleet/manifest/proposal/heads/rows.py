"""Rows of candidates: YOLOv3 to v13 and their kin, with or without objectness, one a row or one a column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fleet.manifest.proposal.heads.subject import PLAIN_STRETCH, ULTRALYTICS, Subject
from fleet.manifest.proposal.proposal import Head, Published

FEWEST = 5
"""Values of a candidate: a box and a score."""
_QUERIES = 1000


@dataclass(frozen=True)
class Rows:
    """One output of candidates."""

    tensor: str
    values: int
    """Of one candidate."""
    count: int | None
    channels_first: bool
    anchors: int
    """Candidates of one cell of the grid; 0 where they are no grid's."""
    strides: tuple[int, ...] = ()
    """Of the grids whose cells the candidates are."""


def rows_of(subject: Subject) -> Rows | None:
    """Return the one output that holds candidates; None where none does, or several do."""
    if subject.image is None:
        return None
    found = [rows for name, shape in subject.of_rank(3).items() if (rows := _rows(subject, name, shape)) is not None]
    return found[0] if len(found) == 1 else None


def _rows(subject: Subject, name: str, shape: tuple[int | None, ...]) -> Rows | None:
    if shape[0] not in (1, None):
        return None
    one, two = shape[1], shape[2]
    for anchors in (1, 3):
        for strides in ((8, 16, 32), (8, 16, 32, 64), (16, 32), (4, 8, 16, 32)):
            cells = anchors * subject.cells(strides)
            if one == cells and two is not None and two >= FEWEST:
                return Rows(name, two, one, channels_first=False, anchors=anchors, strides=strides)
            if two == cells and one is not None and one >= FEWEST:
                return Rows(name, one, two, channels_first=True, anchors=anchors, strides=strides)
    if one is None or two is None:
        values = one or two
        if values is None or values < FEWEST:
            return None
        return Rows(name, values, None, channels_first=two is None, anchors=0)
    low, high = sorted((one, two))
    if low < FEWEST or high < 2 * low:
        return None
    return Rows(name, low, high, channels_first=one < two, anchors=0)


def options_of(subject: Subject, rows: Rows, **more: Any) -> dict[str, Any]:
    """Return the options of the form that a row has."""
    found: dict[str, Any] = {}
    if rows.channels_first:
        found["channels_first"] = True
    if "Sigmoid" not in subject.graph.before(rows.tensor, 12) and "Softmax" not in subject.graph.before(
        rows.tensor, 12
    ):
        found["sigmoid"] = True
    return {**found, **more}


def recognise(subject: Subject) -> Head | None:
    """Return boxes of rows."""
    rows = rows_of(subject)
    if rows is None or len(subject.of_rank(4)) > 3:
        return None
    if rows.anchors == 0 and not (subject.metadata.ultralytics or subject.metadata.task == "detect"):
        return _unproven(subject, rows)
    objectness, sure, why = _objectness(subject, rows)
    classes = rows.values - 4 - objectness
    if classes < 1:
        return None
    options = options_of(subject, rows, **subject.classes(classes))
    if objectness:
        options["objectness"] = True
    preprocessing = ULTRALYTICS
    if rows.anchors == 0 and rows.count is not None and rows.count <= _QUERIES:
        options["normalized"], preprocessing = True, PLAIN_STRETCH
        why += "; so few candidates are the queries of RT-DETR, whose boxes are from 0 to 1"
    notes = _doubts(subject, rows, classes) if not sure or not subject.metadata.names else ()
    return Head(
        "YOLO rows" if "normalized" not in options else "RT-DETR by Ultralytics",
        (Published("boxes", "boxes", options, rows.tensor, why=why),),
        preprocessing,
        subject.usual,
        unused=tuple(name for name in subject.outputs if name != rows.tensor),
        sure=sure,
        notes=notes,
    )


def _objectness(subject: Subject, rows: Rows) -> tuple[bool, bool, str]:
    """Return whether the fifth value is an objectness, whether that is sure, and why."""
    named = len(subject.metadata.names)
    size = f"{rows.count or '?'} candidates of {rows.values} values"
    if named and rows.values == 4 + named:
        return False, True, f"{size}: a box and the {named} classes that the metadata name"
    if named and rows.values == 5 + named:
        return True, True, f"{size}: a box, an objectness and the {named} classes that the metadata name"
    if rows.anchors == 3:
        return True, True, f"{size}, three a cell: YOLOv5 or v7, a box, an objectness and {rows.values - 5} classes"
    if rows.channels_first:
        return False, not named, f"{size}, one a column: YOLOv8 or later, a box and {rows.values - 4} classes"
    return True, rows.values == 85, f"{size}, decoded in the graph: YOLOv6 or YOLOX, a box, an objectness and classes"


def _doubts(subject: Subject, rows: Rows, classes: int) -> tuple[str, ...]:
    if subject.metadata.names:
        named = len(subject.metadata.names)
        return (f"the metadata name {named} classes, and a candidate has {rows.values} values: check the decoder",)
    said = (
        f"the file names no classes: {classes} are counted from the {rows.values} values of a candidate; where some of "
        "them are keypoints, mask coefficients or an angle, the build refuses scores outside 0 to 1: name "
        "decoder keypoints, instances or oriented_boxes then"
    )
    return (said,)


def _unproven(subject: Subject, rows: Rows) -> Head | None:
    """Return rows that fit no grid: boxes are said only where the names say so too."""
    if not subject.named("yolo", "detect", "bbox", "boxes") or rows.count is None:
        return None
    options = options_of(subject, rows, **subject.classes(rows.values - 4))
    why = f"{rows.count} candidates of {rows.values} values that fit no grid of strides 8, 16, 32: by the names alone"
    published = (Published("boxes", "boxes", options, rows.tensor, why=why),)
    return Head(
        "rows", published, ULTRALYTICS, subject.usual, sure=False, notes=_doubts(subject, rows, rows.values - 4)
    )
