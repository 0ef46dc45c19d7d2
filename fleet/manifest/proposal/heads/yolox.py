"""YOLOX's raw grid: offsets in cells, logarithms of sizes, an objectness and classes, for strides 8, 16 and 32."""

from __future__ import annotations

from fleet.manifest.proposal.heads.rows import rows_of
from fleet.manifest.proposal.heads.subject import Subject
from fleet.manifest.proposal.proposal import Head, Preprocessing, Published

TRAINED = Preprocessing(
    "letterbox",
    scale=1.0,
    color="bgr",
    extra=(("place", "top_left"), ("pad", [114, 114, 114])),
    why="YOLOX takes BGR bytes as they are, padded at the right and bottom",
)
_DECODES = frozenset({"Exp", "Mul", "Pow"})


def recognise(subject: Subject) -> Head | None:
    """Return boxes of a raw grid: one candidate a cell, in rows, with nothing between the heads and the output that
    would turn offsets into pixels."""
    rows = rows_of(subject)
    if rows is None or rows.channels_first or rows.anchors != 1 or rows.values < 6:
        return None
    tail = subject.graph.before(rows.tensor, 5)
    if tail & _DECODES or "Concat" not in tail:
        return None
    options = {"head": "yolox", "strides": list(rows.strides), **subject.classes(rows.values - 5)}
    strides = ", ".join(map(str, rows.strides))
    why = (
        f"{rows.count} candidates of {rows.values} values, one a cell of strides {strides}, and nothing in the graph "
        f"turns them into pixels; {rows.values - 5} classes"
    )
    if "Sigmoid" not in tail:
        options["sigmoid"] = True
    return Head("YOLOX", (Published("boxes", "boxes", options, rows.tensor, why=why),), TRAINED, (640, 640))
