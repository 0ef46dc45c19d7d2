"""Pose: candidates with keypoints behind their class scores."""

from __future__ import annotations

from fleet.manifest.proposal.heads import end_to_end
from fleet.manifest.proposal.heads.rows import options_of, rows_of
from fleet.manifest.proposal.heads.subject import ULTRALYTICS, Subject
from fleet.manifest.proposal.proposal import Head, Published


def recognise(subject: Subject) -> Head | None:
    """Return keypoints, where the metadata say so: by the shape alone they could be classes."""
    points = subject.metadata.keypoints
    if subject.metadata.task != "pose" and points is None:
        return None
    count, each = points or (17, 3)
    selected = end_to_end.selected_rows(subject)
    rows = selected or rows_of(subject)
    if rows is None:
        return None
    places = {"keypoints": count, "keypoint_values": each}
    classes = rows.values - count * each - (end_to_end.VALUES if selected else 4)
    if classes < (0 if selected else 1):
        return None
    if selected is not None:
        options = {**end_to_end.options_of(subject, 1), **places}
    else:
        options = {**options_of(subject, rows, **subject.classes(classes)), **places}
    why = f"task pose: {rows.count or '?'} candidates of {rows.values} values, {count} keypoints of {each} numbers"
    return Head(
        "pose",
        (Published("keypoints", "keypoints", options, rows.tensor, why=why),),
        ULTRALYTICS,
        subject.usual,
        sure=points is not None,
        notes=() if points is not None else ("the file does not say kpt_shape: 17 points of 3 numbers, as COCO has",),
    )
