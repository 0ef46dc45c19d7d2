"""Non-maximum suppression without a loop over boxes.

Two boxes can only overlap where their left and right edges do. Boxes are sorted by their left edge, so that those a box
may overlap are a range of indices; boxes of other classes are shifted apart, so that they never overlap. Only these
pairs are compared, not every box with every other.

Greedy suppression keeps a box unless a better box that is itself kept overlaps it. That is the one fixed point of
``keep = not any(kept better box overlaps)``, and iterating the right side from "all kept" reaches it: after n rounds
everything that depends on at most n others is settled (Zheng et al., "Cluster-NMS", arXiv 2005.03572). Real frames take
2 to 5 rounds; a chain of n boxes takes n.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


def suppress(corners: Floats, classes: Ints | None, limit: float) -> npt.NDArray[np.bool_]:
    """Return which of the boxes (n, 4: left, top, right, bottom), best first, stay: no kept better one overlaps them by
    more than ``limit``, intersection over union.

    With ``classes`` (n,) only boxes of the same class suppress each other.
    """
    one, other = meeting(corners, classes)
    over = overlaps(corners, one, other) > limit
    return settle(one[over], other[over], corners.shape[0])


def settle(one: Ints, other: Ints, count: int) -> npt.NDArray[np.bool_]:
    """Return which of ``count`` boxes, best first, stay, when those of the pairs ``one``-``other`` overlap too much."""
    better, worse = np.minimum(one, other), np.maximum(one, other)
    keep = np.ones(count, np.bool_)
    while better.size:
        settled = np.ones_like(keep)
        settled[worse[keep[better]]] = False
        if np.array_equal(settled, keep):
            break
        keep = settled
    return keep


def overlaps(corners: Floats, one: Ints, other: Ints) -> Floats:
    """Return intersection over union of the pairs of boxes with these indices. Boxes without area overlap nothing."""
    a, b = corners[one], corners[other]
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    np.maximum(sides, 0.0, out=sides)
    shared: Floats = sides[:, 0] * sides[:, 1]
    area = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    union = area[one] + area[other] - shared
    np.divide(shared, union, out=shared, where=union > 0.0)
    return shared


def meeting(corners: npt.NDArray[Any], classes: Ints | None) -> tuple[Ints, Ints]:
    """Return the indices of all pairs of boxes (of one class) whose left and right edges overlap, each pair once."""
    left, right = corners[:, 0].astype(np.float64), corners[:, 2].astype(np.float64)
    if classes is not None and left.size:
        apart = classes * (float(right.max() - left.min()) + 1.0)
        left, right = left + apart, right + apart
    order = np.argsort(left, kind="stable")
    here = np.arange(order.size)
    end = np.searchsorted(left[order], right[order], side="left")
    count = np.maximum(end - here - 1, 0)
    first = np.repeat(here, count)
    offset = np.arange(first.size) - np.repeat(np.cumsum(count) - count, count)
    return order[first], order[first + 1 + offset]
