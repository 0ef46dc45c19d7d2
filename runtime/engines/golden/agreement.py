"""Do two decoded results say the same? By what a robot acts on: places, classes and clear scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from runtime.decoding.results import Boxes, Classes, Depth, Instances, Keypoints, Mask, Result
from runtime.engines.golden.average_precision import SCORE_ERROR, box_overlaps, matches

Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]
OKS_SIGMA = 0.05
"""Spread of a point in shares of its object's size; COCO's lie between 0.025 (eyes) and 0.107 (hips)."""
DEPTH_FACTOR = 1.25


def agreement(own: Sequence[Result], reference: Sequence[Result], threshold: float) -> float | None:
    """Return how far results agree over all frames, 0 to 1; None for results that are plain numbers.

    Boxes: twice those that both have (class, IoU 0.5, score within ``SCORE_ERROR``), over all that are clear: one whose
    score is within ``SCORE_ERROR`` of ``threshold`` is missing on one side by rounding alone, and is left out. Boxes at
    an angle are compared as polygons; keypoints must lie close too, instances cover the same pixels (:func:`_shared`).
    Classes: frames with the same best one. Masks: pixels of the same class. Depth: pixels that neither differ by a
    factor of ``DEPTH_FACTOR`` nor have a depth on one side alone.
    """
    pairs = list(zip(own, reference, strict=True))
    first = own[0]
    if isinstance(first, Boxes):
        return _boxes(pairs, threshold)
    if isinstance(first, Classes):
        return float(np.mean([_best(one) == _best(other) for one, other in pairs]))
    if isinstance(first, Mask):
        return float(np.mean([_same_pixels(one, other) for one, other in pairs]))
    if isinstance(first, Depth):
        return float(np.mean([_same_depth(one, other) for one, other in pairs]))
    return None


def _boxes(pairs: Sequence[tuple[Result, Result]], threshold: float) -> float:
    both = clear = 0
    for own, reference in pairs:
        assert isinstance(own, Boxes)
        assert isinstance(reference, Boxes)
        ours, theirs = matches(own, reference, SCORE_ERROR, _shared(own, reference))
        both += int(np.count_nonzero(ours)) + int(np.count_nonzero(theirs))
        clear += _clear(own, ours, threshold) + _clear(reference, theirs, threshold)
    return both / (both + clear) if both + clear else 1.0


def _shared(own: Boxes, reference: Boxes) -> Floats:
    """Return how far each box is each of the reference, 0 to 1; what has points or pixels is judged by them too."""
    shared = box_overlaps(own, reference)
    if isinstance(own, Keypoints) and isinstance(reference, Keypoints):
        return np.minimum(shared, _keypoint_similarity(own, reference))
    if isinstance(own, Instances) and isinstance(reference, Instances):
        return np.minimum(shared, _pixels_shared(own, reference))
    return shared


def _keypoint_similarity(own: Keypoints, reference: Keypoints) -> Floats:
    """Return COCO's object keypoint similarity (cocoeval.py, computeOks) of every pair, one ``OKS_SIGMA`` for all
    points: over those that the reference sees. An object of which it sees none is judged by its box alone."""
    size = (len(own.scores), len(reference.scores))
    if not own.points.size or not reference.points.size:
        return np.ones(size, np.float32)
    apart = own.points[:, None].astype(np.float64) - reference.points[None].astype(np.float64)
    area = np.maximum(reference.corners[:, 2] * reference.corners[:, 3], 1.0).astype(np.float64)
    close = np.exp(-(apart**2).sum(axis=3) / (2.0 * area[None, :, None] * (2.0 * OKS_SIGMA) ** 2))
    seen = (reference.visible >= 0.5).astype(np.float64)[None]
    count = seen.sum(axis=2)
    found: Floats = np.where(count > 0, (close * seen).sum(axis=2) / np.maximum(count, 1.0), 1.0).astype(np.float32)
    return found


def _pixels_shared(own: Instances, reference: Instances) -> Floats:
    """Return intersection over union of the masks of every pair."""
    ours, theirs = len(own.scores), len(reference.scores)
    if own.ids.shape != reference.ids.shape:
        return np.zeros((ours, theirs), np.float32)
    both = own.ids.astype(np.int64).ravel() * (theirs + 1) + reference.ids.ravel()
    counts = np.bincount(both, minlength=(ours + 1) * (theirs + 1)).reshape(ours + 1, theirs + 1)
    shared = counts[1:, 1:]
    union = counts.sum(axis=1)[1:, None] + counts.sum(axis=0)[None, 1:] - shared
    found: Floats = np.where(union > 0, shared / np.maximum(union, 1), 1.0).astype(np.float32)
    return found


def _same_depth(own: Result, reference: Result) -> float:
    """Return the share of pixels whose depths differ by less than a factor (the field's delta 1), of those that have
    one on either side."""
    assert isinstance(own, Depth)
    assert isinstance(reference, Depth)
    if own.values.shape != reference.values.shape:
        return 0.0
    ours, theirs = own.values.astype(np.float64), reference.values.astype(np.float64)
    here, there = ours > 0, theirs > 0  # NaN is not
    both, either = here & there, here | there
    if not either.any():
        return 1.0
    ratio = ours[both] / theirs[both]
    return float(np.count_nonzero(np.maximum(ratio, 1.0 / ratio) < DEPTH_FACTOR) / np.count_nonzero(either))


def _clear(boxes: Boxes, matched: Flags, threshold: float) -> int:
    return int(np.count_nonzero(~matched & (boxes.scores > threshold + SCORE_ERROR)))


def _best(result: Result) -> int | None:
    return int(result.ids[0]) if isinstance(result, Classes) and result.ids.size else None


def _same_pixels(own: Result, reference: Result) -> float:
    assert isinstance(own, Mask)
    assert isinstance(reference, Mask)
    if own.classes.shape != reference.classes.shape or not own.classes.size:
        return 0.0
    return float(np.mean(own.classes == reference.classes))
