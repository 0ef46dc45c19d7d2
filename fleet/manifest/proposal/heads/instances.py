"""Instance masks: candidates with coefficients, and an output of prototypes that they weigh."""

from __future__ import annotations

from fleet.manifest.proposal.heads import end_to_end
from fleet.manifest.proposal.heads.rows import options_of, rows_of
from fleet.manifest.proposal.heads.subject import ULTRALYTICS, Subject
from fleet.manifest.proposal.proposal import Head, Published


def recognise(subject: Subject) -> Head | None:
    """Return instance masks: rows, and one map of prototypes that is smaller than the picture."""
    selected = end_to_end.selected_rows(subject)
    rows = selected or rows_of(subject)
    maps = subject.of_rank(4)
    if rows is None or len(maps) != 1:
        return None
    ((prototypes, shape),) = maps.items()
    coefficients = shape[1]
    if coefficients is None or coefficients < 8 or (shape[2] or 1) >= subject.size[0]:
        return None
    tensors = {"rows": rows.tensor, "prototypes": prototypes}
    what = f"{rows.count or '?'} candidates of {rows.values} values and {coefficients} prototypes"
    if selected is not None:
        if rows.values != end_to_end.VALUES + coefficients:
            return None
        options = end_to_end.options_of(subject, None)
    else:
        objectness = rows.anchors == 3
        classes = rows.values - 4 - objectness - coefficients
        if classes < 1:
            return None
        options = options_of(subject, rows, **subject.classes(classes))
        if objectness:
            options["objectness"] = True
        what += f": {classes} classes"
    published = (Published("instances", "instances", options, tensors=tensors, why=what),)
    return Head("instance masks", published, ULTRALYTICS, subject.usual, sure=bool(subject.metadata.names))
