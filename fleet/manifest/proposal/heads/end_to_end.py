"""Rows that the graph itself selected: YOLO26, YOLOv10 and Ultralytics' ``nms=True``; x1 y1 x2 y2 score class …"""

from __future__ import annotations

from typing import Any

from fleet.manifest.proposal.heads.rows import Rows, rows_of
from fleet.manifest.proposal.heads.subject import ULTRALYTICS, Subject
from fleet.manifest.proposal.proposal import Head, Published

VALUES = 6
_MOST = 2000


def selected_rows(subject: Subject) -> Rows | None:
    """Return the output of selected rows; None where candidates are a grid's, or nothing selects."""
    if subject.image is None:
        return None
    rows = rows_of(subject)
    shapes = subject.of_rank(3)
    if rows is None and len(shapes) == 1:
        ((name, shape),) = shapes.items()
        if shape[2] is not None and shape[2] >= VALUES:  # few rows of nearly as many values
            rows = Rows(name, shape[2], shape[1], channels_first=False, anchors=0)
    # By chance so many rows may be selected as a grid has cells: what the exporter says of itself counts more.
    grid = rows is not None and rows.anchors and not subject.metadata.end_to_end
    if rows is None or grid or rows.channels_first or rows.values < VALUES:
        return None
    if rows.count is not None and rows.count > _MOST:
        return None
    selects = subject.graph.before(rows.tensor, 8) & {"TopK", "NonMaxSuppression", "GatherElements", "GatherND", "Mod"}
    return rows if subject.metadata.end_to_end or selects else None


def options_of(subject: Subject, classes: int | None) -> dict[str, Any]:
    """Return the options of a selected row; the classes are those that the metadata name, or that somebody counts."""
    count = len(subject.metadata.names) or classes or COCO
    return {"head": "end_to_end", "layout": "xyxy", **subject.classes(count)}


COCO = 80
"""Classes of the data that most detectors are published with."""


def recognise(subject: Subject) -> Head | None:
    """Return boxes of selected rows of six values."""
    rows = selected_rows(subject)
    if rows is None or rows.values != VALUES or subject.of_rank(4):
        return None
    named = bool(subject.metadata.names)
    why = f"{rows.count or '?'} selected rows of 6 values: corners, score, class number (YOLO26, v10, or nms=True)"
    notes = () if named else (f"the file names no classes: {COCO} are written, as COCO has; correct classes or labels",)
    return Head(
        "end-to-end rows",
        (Published("boxes", "boxes", options_of(subject, None), rows.tensor, why=why),),
        ULTRALYTICS,
        subject.usual,
        unused=tuple(name for name in subject.outputs if name != rows.tensor),
        sure=named,
        notes=notes,
    )
