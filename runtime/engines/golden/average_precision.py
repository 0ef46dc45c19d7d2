"""Mean average precision at IoU 0.5, as COCO computes it (``AP50``: 101 recall points), over the boxes of all frames.

COCO's evaluation (``cocoapi/PythonAPI/pycocotools/cocoeval.py``), class by class: boxes of all frames, best score
first; each takes the box of the reference in its frame that it overlaps most, of those with IoU 0.5 or more that no
better box has taken; precision, made to fall with recall, is read at recall 0, 0.01 … 1 and averaged.

Two things differ. COCO leaves a class out that the reference does not have; here a class that only one side has counts
0, as boxes that nobody else sees are what a gate is for. And where the caller gives ``score_error``, a box finds one of
the reference only if their scores differ by no more: right places with wrong scores are other answers to a robot, whose
thresholds read scores.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from runtime.decoding.boxes.rotated import rotated_overlaps
from runtime.decoding.frame_boxes import Boxes, OrientedBoxes
from runtime.decoding.nms import overlaps

LEAST_OVERLAP = 0.5
ANY_SCORE = float("inf")
SCORE_ERROR = 0.15
"""How far a box's score may be from the reference's. Right int8 detectors stay within about 0.11 on their weakest
boxes; TensorRT's calibrator, which loses boxes, moves scores by 0.14 to 0.20 (a 320 pixel detector, eight frames)."""
_POINTS = np.linspace(0.0, 1.0, 101)
_ROUNDING = 1e-10
"""COCO's own: an overlap of exactly the limit is one, whatever the last bit says."""

Hits = tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_], int]


def mean_average_precision(
    own: Sequence[Boxes], reference: Sequence[Boxes], score_error: float = ANY_SCORE
) -> float | None:
    """Return the mean over the classes that either side has, 0 to 1; None when neither has a box.

    Both hold one entry a frame, boxes best first. ``score_error``: how far scores may differ from the reference's.
    """
    found = per_class(own, reference, score_error)
    return float(np.mean(list(found.values()))) if found else None


def per_class(own: Sequence[Boxes], reference: Sequence[Boxes], score_error: float = ANY_SCORE) -> dict[int, float]:
    """Return the average precision of every class that either side has, by its number."""
    classes = sorted({int(each) for boxes in (*own, *reference) for each in _classes(boxes)})
    return {each: _of_class(own, reference, each, score_error) for each in classes}


def _of_class(own: Sequence[Boxes], reference: Sequence[Boxes], number: int, score_error: float) -> float:
    frames = [_match(left, right, number, score_error) for left, right in zip(own, reference, strict=True)]
    scores = np.concatenate([each[0] for each in frames])
    hits = np.concatenate([each[1] for each in frames])[np.argsort(-scores, kind="stable")]
    return _average(hits, sum(each[2] for each in frames))


def _match(own: Boxes, reference: Boxes, number: int, score_error: float) -> Hits:
    """Return one class of one frame: scores best first, which of them found a box, and how many there are to find."""
    ours, theirs = _classes(own) == number, _classes(reference) == number
    scores = own.scores[ours].astype(np.float64)
    hits = np.zeros(scores.size, np.bool_)
    shared = box_overlaps(own, reference)[ours][:, theirs]
    apart = np.abs(scores[:, None] - reference.scores[theirs].astype(np.float64)[None, :])
    shared[apart > score_error] = -1.0
    for index, row in enumerate(shared if shared.shape[1] else ()):
        best = int(np.argmax(row))
        if row[best] >= LEAST_OVERLAP - _ROUNDING:
            hits[index] = True
            shared[:, best] = -1.0  # taken
    return scores, hits, int(np.count_nonzero(theirs))


def matches(
    own: Boxes, reference: Boxes, score_error: float, shared: npt.NDArray[np.float32] | None = None
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return which boxes of one frame find one of the other side, each taken once: of ``own``, of ``reference``.

    ``shared``: how far each of ``own`` is each of ``reference``, 0 to 1; not given: by :func:`box_overlaps`.
    """
    ours, theirs = np.zeros(len(own.scores), np.bool_), np.zeros(len(reference.scores), np.bool_)
    shared = box_overlaps(own, reference) if shared is None else shared.copy()
    shared[_classes(own)[:, None] != _classes(reference)[None, :]] = -1.0
    apart = np.abs(own.scores[:, None].astype(np.float64) - reference.scores[None, :].astype(np.float64))
    shared[apart > score_error] = -1.0
    for index, row in enumerate(shared if shared.shape[1] else ()):
        best = int(np.argmax(row))
        if row[best] >= LEAST_OVERLAP - _ROUNDING:
            ours[index] = theirs[best] = True
            shared[:, best] = -1.0  # taken
    return ours, theirs


def _average(hits: npt.NDArray[np.bool_], there: int) -> float:
    """Return the mean of the precision at 101 recalls; ``hits`` best first, ``there`` boxes to find."""
    if not there or not hits.size:
        return 0.0
    true = np.cumsum(hits)
    precision = true / np.arange(1, hits.size + 1)
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(true / there, _POINTS, side="left")
    return float(np.sum(falling[at[at < hits.size]]) / _POINTS.size)


def box_overlaps(own: Boxes, reference: Boxes) -> npt.NDArray[np.float32]:
    """Return intersection over union of every pair (own, reference): of boxes at an angle that of their polygons."""
    one = np.repeat(np.arange(len(own.scores)), len(reference.scores))
    other = len(own.scores) + np.tile(np.arange(len(reference.scores)), len(own.scores))
    size = (len(own.scores), len(reference.scores))
    if isinstance(own, OrientedBoxes) and isinstance(reference, OrientedBoxes):
        rotated = np.concatenate((own.rotated.reshape(-1, 5), reference.rotated.reshape(-1, 5)))
        return rotated_overlaps(rotated, one, other).reshape(size)
    corners = np.concatenate((own.corners, reference.corners))
    edges = np.concatenate((corners[:, :2], corners[:, :2] + corners[:, 2:]), axis=1)
    return overlaps(edges, one, other).reshape(size)


def _classes(boxes: Boxes) -> npt.NDArray[np.int64]:
    return np.zeros(boxes.scores.size, np.int64) if boxes.classes is None else boxes.classes
