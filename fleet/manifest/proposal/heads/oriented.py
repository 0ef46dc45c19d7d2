"""Oriented boxes: candidates with an angle behind their class scores."""

from __future__ import annotations

from fleet.manifest.proposal.heads import end_to_end
from fleet.manifest.proposal.heads.rows import options_of, rows_of
from fleet.manifest.proposal.heads.subject import ULTRALYTICS, Subject
from fleet.manifest.proposal.proposal import Head, Published


def recognise(subject: Subject) -> Head | None:
    """Return oriented boxes, where the metadata say so: by the shape alone the angle could be a class."""
    if subject.metadata.task != "obb":
        return None
    selected = end_to_end.selected_rows(subject)
    rows = selected or rows_of(subject)
    if rows is None:
        return None
    if selected is not None:
        options = end_to_end.options_of(subject, 15)
        options.pop("layout")  # centre and size, as oriented boxes always are
    else:
        options = options_of(subject, rows, **subject.classes(rows.values - 5))
    why = f"task obb: {rows.count or '?'} candidates of {rows.values} values, the last one an angle in radians"
    published = (Published("oriented_boxes", "oriented_boxes", options, rows.tensor, why=why),)
    return Head("oriented boxes", published, ULTRALYTICS, subject.usual)
