"""What decoders found in golden frames, in one line for a person, and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from runtime.decoding.results import (
    Boxes,
    Classes,
    Depth,
    Instances,
    JointCommand,
    Keypoints,
    Mask,
    OrientedBoxes,
    Result,
    Tensor,
    Velocity,
)

_MOST_NAMED = 4


def described(results: Sequence[Result]) -> str:
    """Return what was found in all frames, in one line."""
    first = results[0]
    if isinstance(first, Boxes):
        return _said_of_boxes([result for result in results if isinstance(result, Boxes)])
    if isinstance(first, Classes):
        best = Counter(str(result.labels[0]) for result in results if isinstance(result, Classes) and result.labels)
        scores = [float(result.scores[0]) for result in results if isinstance(result, Classes) and result.scores.size]
        return f"best {_counted(best)}, scores {min(scores):.3f} to {max(scores):.3f}" if scores else "no classes"
    if isinstance(first, Depth):
        return _said_of_depth([result for result in results if isinstance(result, Depth)])
    if isinstance(first, Mask):
        masks = [result.classes for result in results if isinstance(result, Mask)]
        classes = sorted({int(each) for mask in masks for each in np.unique(mask)})
        share = float(np.mean([np.mean(mask != 0) for mask in masks if mask.size] or [0.0]))
        return f"classes {', '.join(map(str, classes[:8]))}, {share:.1%} of the pixels are not class 0"
    if isinstance(first, Velocity):
        rows = np.array([(*r.linear, *r.angular) for r in results if isinstance(r, Velocity)])
        names = ("linear x", "y", "z", "angular x", "y", "z")
        ranges = zip(names, rows.min(axis=0), rows.max(axis=0), strict=True)
        return ", ".join(f"{name} {low:.3g} to {high:.3g}" for name, low, high in ranges if low or high) or "stands"
    if isinstance(first, JointCommand):
        joints = np.array([result.values for result in results if isinstance(result, JointCommand)])
        return f"{joints.shape[1]} joints in {len(results)} frames, {joints.min():.4g} to {joints.max():.4g}"
    if isinstance(first, Tensor):
        values = np.concatenate([np.asarray(r.values, np.float64).ravel() for r in results if isinstance(r, Tensor)])
        if values.size:
            return f"{len(results)} frames of {list(first.values.shape)}, {values.min():.4g} to {values.max():.4g}"
    return f"{len(results)} results of type {type(first).__name__}"


def _said_of_boxes(results: Sequence[Boxes]) -> str:
    counts = [len(result.scores) for result in results]
    there = sum(counts)
    if not there:
        return f"no boxes in {len(results)} frames"
    scores = np.concatenate([result.scores for result in results])
    named = Counter(name or "box" for result in results for name in result.names())
    return (
        f"{there} boxes in {len(results)} frames ({min(counts)} to {max(counts)} a frame), scores "
        f"{scores.min():.3f} to {scores.max():.3f}: {_counted(named)}{_more(results)}"
    )


def _more(results: Sequence[Boxes]) -> str:
    """What a box has beyond its corners, in all frames."""
    first = results[0]
    if isinstance(first, Keypoints):
        seen = np.concatenate([result.visible.ravel() for result in results if isinstance(result, Keypoints)])
        return f"; {len(first.points_named)} keypoints each, {float(np.mean(seen >= 0.5)):.0%} of them visible"
    if isinstance(first, Instances):
        share = float(np.mean([np.mean(result.ids != 0) for result in results if isinstance(result, Instances)]))
        return f"; masks cover {share:.1%} of the pixels"
    if isinstance(first, OrientedBoxes):
        angles = np.concatenate([result.rotated[:, 4] for result in results if isinstance(result, OrientedBoxes)])
        low, high = np.rad2deg((angles.min(), angles.max()))
        return f"; angles {low:.0f} to {high:.0f} degrees"
    return ""


def _said_of_depth(results: Sequence[Depth]) -> str:
    valid = [values[values > 0] for values in (result.values for result in results)]
    share = sum(each.size for each in valid) / max(1, sum(result.values.size for result in results))
    unit = "mm" if results[0].values.dtype == np.uint16 else "m"
    there = np.concatenate(valid)
    if not there.size:
        return f"no depth in {len(results)} frames"
    ranges = f"{float(there.min()):.4g} to {float(there.max()):.4g} {unit}"
    return f"depth in {share:.1%} of the pixels, {ranges}"


def _counted(named: Mapping[str, int]) -> str:
    most = sorted(named.items(), key=lambda item: (-item[1], item[0]))
    more = f" and {len(most) - _MOST_NAMED} more" if len(most) > _MOST_NAMED else ""
    return ", ".join(f"{name} x{count}" for name, count in most[:_MOST_NAMED]) + more


def count(result: Result) -> int | None:
    """Return how much a result has found; None for one that looks for nothing."""
    if isinstance(result, Boxes):
        return len(result.scores)
    if isinstance(result, Mask):
        return int(np.count_nonzero(result.classes))
    if isinstance(result, Depth):
        return int(np.count_nonzero(result.values > 0))  # NaN is no depth, and not above 0
    return None


def total(results: Sequence[Result]) -> int | None:
    """Return how much all frames together have found; None for what looks for nothing."""
    counts = [found for result in results if (found := count(result)) is not None]
    return sum(counts) if counts else None
