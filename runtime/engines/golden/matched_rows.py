"""Outputs that have as many rows as are found: boxes after suppression in the graph, indices of what is not zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.contract.engine.build import OutputAccuracy

Array = npt.NDArray[Any]
MOST_APART = 0.1
"""Norm of the difference of two rows over the reference's, up to which they are the same row."""


def compare_rows(name: str, actual: Sequence[Array], expected: Sequence[Array], axis: int) -> OutputAccuracy:
    """Return how many rows along ``axis`` both sides have, over all frames; integers must be equal.

    Nothing on either side agrees. The largest error is that of rows that both have.
    """
    both = rows = 0
    error = 0.0
    for one, other in zip(actual, expected, strict=True):
        ours, theirs = _rows(one, axis), _rows(other, axis)
        matched, apart = _matched(ours, theirs, exact=one.dtype.kind in "iub")
        both, rows, error = both + matched, rows + len(ours) + len(theirs), max(error, apart)
    share = 2.0 * both / rows if rows else 1.0
    return OutputAccuracy(name, share, error, matched_share=share)


def _rows(values: Array, axis: int) -> npt.NDArray[np.float64]:
    if values.ndim <= axis:
        return values.astype(np.float64).reshape(1, -1)
    moved = np.moveaxis(values, axis, 0).astype(np.float64)
    return moved.reshape(len(moved), -1) if moved.size else np.zeros((0, 1))


def _matched(ours: npt.NDArray[np.float64], theirs: npt.NDArray[np.float64], *, exact: bool) -> tuple[int, float]:
    """Return how many of ``ours`` are in ``theirs``, each taken once, and the largest difference in one of them."""
    if not len(ours) or not len(theirs) or ours.shape[1] != theirs.shape[1]:
        return 0, 0.0
    left = np.ones(len(theirs), np.bool_)
    allowed = 0.0 if exact else MOST_APART * np.linalg.norm(theirs, axis=1) + 1e-6
    count, error = 0, 0.0
    for row in ours:
        distance = np.linalg.norm(theirs - row, axis=1)
        fits = np.flatnonzero(left & (distance <= allowed))
        if fits.size:
            nearest = fits[np.argmin(distance[fits])]
            left[nearest] = False
            count, error = count + 1, max(error, float(np.max(np.abs(theirs[nearest] - row))))
    return count, error
