"""Do two decoded results say the same? By what a robot acts on: places, classes and clear scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from runtime.decoding.results import Boxes, Classes, Mask, Result
from runtime.engines.golden.average_precision import SCORE_ERROR, matches

Flags = npt.NDArray[np.bool_]


def agreement(own: Sequence[Result], reference: Sequence[Result], threshold: float) -> float | None:
    """Return how far results agree over all frames, 0 to 1; None for results that are plain numbers.

    Boxes: twice those that both have (class, IoU 0.5, score within ``SCORE_ERROR``), over all that are clear: one whose
    score is within ``SCORE_ERROR`` of ``threshold`` is missing on one side by rounding alone, and is left out. Classes:
    frames with the same best one. Masks: pixels of the same class.
    """
    pairs = list(zip(own, reference, strict=True))
    first = own[0]
    if isinstance(first, Boxes):
        return _boxes(pairs, threshold)
    if isinstance(first, Classes):
        return float(np.mean([_best(one) == _best(other) for one, other in pairs]))
    if isinstance(first, Mask):
        return float(np.mean([_same_pixels(one, other) for one, other in pairs]))
    return None


def _boxes(pairs: Sequence[tuple[Result, Result]], threshold: float) -> float:
    both = clear = 0
    for own, reference in pairs:
        assert isinstance(own, Boxes)
        assert isinstance(reference, Boxes)
        ours, theirs = matches(own, reference, SCORE_ERROR)
        both += int(np.count_nonzero(ours)) + int(np.count_nonzero(theirs))
        clear += _clear(own, ours, threshold) + _clear(reference, theirs, threshold)
    return both / (both + clear) if both + clear else 1.0


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
