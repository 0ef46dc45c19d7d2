"""Overlap of boxes at an angle, exactly and without a loop over pairs.

Two convex polygons overlap in a convex polygon, whose corners are those of each that lie in the other, and the points
where sides cross. They are found for all pairs at once, put in order around their middle, and measured by the shoelace
formula.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.decoding.heads.candidates import Floats, Ints
from runtime.decoding.nms import meeting, settle

Doubles = npt.NDArray[np.float64]
_AT_ONCE = 20000
"""Pairs: a hundred bytes for each of 24 points is then some tens of MB at most."""
_ROUNDING = 1e-9


def corners_of(rotated: npt.NDArray[Any]) -> Doubles:
    """Return the four corners of boxes (n, 5: centre x, y, width, height, angle), in order, (n, 4, 2)."""
    x, y, wide, high, angle = rotated.astype(np.float64).T
    along = np.stack((np.cos(angle), np.sin(angle)), axis=1) * (wide / 2)[:, None]
    across = np.stack((-np.sin(angle), np.cos(angle)), axis=1) * (high / 2)[:, None]
    centre = np.stack((x, y), axis=1)
    return np.stack(
        (centre - along - across, centre + along - across, centre + along + across, centre - along + across), axis=1
    )


def hulls(rotated: npt.NDArray[Any]) -> Doubles:
    """Return the upright boxes around boxes at an angle: left, top, right, bottom, (n, 4)."""
    corners = corners_of(rotated)
    return np.concatenate((corners.min(axis=1), corners.max(axis=1)), axis=1)


def suppress_rotated(rotated: npt.NDArray[Any], classes: Ints | None, limit: float) -> npt.NDArray[np.bool_]:
    """As :func:`runtime.decoding.nms.suppress`, for boxes at an angle (n, 5), best first."""
    around = hulls(rotated)
    one, other = meeting(around, classes)
    apart = (around[one, 1] >= around[other, 3]) | (around[other, 1] >= around[one, 3])
    one, other = one[~apart], other[~apart]
    over = rotated_overlaps(rotated, one, other) > limit
    return settle(one[over], other[over], len(rotated))


def rotated_overlaps(rotated: npt.NDArray[Any], one: Ints, other: Ints) -> Floats:
    """Return intersection over union of the pairs with these indices. Boxes without area overlap nothing."""
    found = np.zeros(one.size, np.float32)
    corners = corners_of(rotated)
    area = np.abs(rotated[:, 2].astype(np.float64) * rotated[:, 3].astype(np.float64))
    for start in range(0, one.size, _AT_ONCE):
        left, right = one[start : start + _AT_ONCE], other[start : start + _AT_ONCE]
        shared = _shared(corners[left], corners[right])
        union = area[left] + area[right] - shared
        part = np.zeros_like(shared)
        np.divide(shared, union, out=part, where=union > 0.0)
        found[start : start + _AT_ONCE] = part
    return found


def _shared(a: Doubles, b: Doubles) -> Doubles:
    """Return the area that pairs of convex quadrilaterals (p, 4, 2) have in common, (p,)."""
    crossings, crossed = _crossings(a, b)
    points = np.concatenate((a, b, crossings), axis=1)
    there = np.concatenate((_inside(a, b), _inside(b, a), crossed), axis=1)
    count = there.sum(axis=1)
    middle = (points * there[..., None]).sum(axis=1) / np.maximum(count, 1)[:, None]
    offset = points - middle[:, None]
    angle = np.where(there, np.arctan2(offset[..., 1], offset[..., 0]), np.inf)
    order = np.argsort(angle, axis=1)
    ring = np.take_along_axis(offset, order[..., None], axis=1)
    # What is not there comes last, and stands on the first point: it adds no area.
    ring = np.where(np.arange(ring.shape[1])[None, :, None] < count[:, None, None], ring, ring[:, :1])
    after = np.roll(ring, -1, axis=1)
    doubled = (ring[..., 0] * after[..., 1] - ring[..., 1] * after[..., 0]).sum(axis=1)
    shared: Doubles = np.where(count > 2, np.abs(doubled) / 2, 0.0)
    return shared


def _inside(points: Doubles, quads: Doubles) -> npt.NDArray[np.bool_]:
    """Return which points (p, 4, 2) lie in the quadrilateral (p, 4, 2) of their pair, edges included, (p, 4)."""
    side = np.roll(quads, -1, axis=1) - quads
    offset = points[:, :, None] - quads[:, None]
    cross = side[:, None, :, 0] * offset[..., 1] - side[:, None, :, 1] * offset[..., 0]
    slack = _ROUNDING * np.abs(side).max(axis=(1, 2))[:, None, None] ** 2
    inside: npt.NDArray[np.bool_] = (cross >= -slack).all(axis=2) | (cross <= slack).all(axis=2)
    return inside


def _crossings(a: Doubles, b: Doubles) -> tuple[Doubles, npt.NDArray[np.bool_]]:
    """Return where each side of one meets each of the other, (p, 16, 2), and whether it does, (p, 16)."""
    along, across = np.roll(a, -1, axis=1) - a, np.roll(b, -1, axis=1) - b
    one, other = along[:, :, None], across[:, None]
    gap = b[:, None] - a[:, :, None]
    turn = one[..., 0] * other[..., 1] - one[..., 1] * other[..., 0]
    with np.errstate(divide="ignore", invalid="ignore"):  # parallel sides meet nowhere: infinity and NaN are not in 0…1
        at = (gap[..., 0] * other[..., 1] - gap[..., 1] * other[..., 0]) / turn
        on = (gap[..., 0] * one[..., 1] - gap[..., 1] * one[..., 0]) / turn
        met = (at >= 0.0) & (at <= 1.0) & (on >= 0.0) & (on <= 1.0)
        points = a[:, :, None] + one * np.where(met, at, 0.0)[..., None]
    return points.reshape(len(a), 16, 2), met.reshape(len(a), 16)
