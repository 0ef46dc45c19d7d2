"""Results of somebody's own decoder, with the types and shapes that messages are filled from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

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

RESULTS = (Boxes, Classes, Depth, Instances, JointCommand, Keypoints, Mask, OrientedBoxes, Tensor, Velocity)
"""What a decoder may say that it returns."""


def sound(result: Result) -> Result:
    """Return the result with the types that messages are filled from. Raises TypeError or ValueError."""
    if isinstance(result, Boxes):
        return _boxes(result)
    if isinstance(result, Classes):
        ids, scores = np.asarray(result.ids, np.int64).ravel(), np.asarray(result.scores, np.float32).ravel()
        if not ids.size == scores.size == len(result.labels):
            raise ValueError(f"{ids.size} ids, {scores.size} scores, {len(result.labels)} labels")
        return Classes(ids, scores, _words(result.labels))
    if isinstance(result, Mask):
        return Mask(_image("classes", result.classes, (np.uint8,)))
    if isinstance(result, Depth):
        return Depth(_image("values", result.values, (np.float32, np.uint16)))
    if isinstance(result, JointCommand):
        return JointCommand(np.array(result.values, np.float64).ravel())
    if isinstance(result, Velocity):
        return Velocity(_three(result.linear), _three(result.angular))
    return Tensor(str(result.name), np.array(result.values))


def _boxes(result: Boxes) -> Boxes:
    count = len(result.scores)
    classes = None if result.classes is None else np.asarray(result.classes, np.int64).reshape(count)
    corners, scores = np.asarray(result.corners, np.float32).reshape(count, 4), np.asarray(result.scores, np.float32)
    every = (corners, scores, str(result.label), classes, _words(result.labels), int(result.capped))
    if isinstance(result, Keypoints):
        names = _words(result.points_named)
        points = np.asarray(result.points, np.float32).reshape(count, len(names), 2)
        return Keypoints(*every, points, np.asarray(result.visible, np.float32).reshape(count, len(names)), names)
    if isinstance(result, Instances):
        ids = _image("ids", result.ids, (np.uint8,))
        if ids.size and int(ids.max()) > count:
            raise ValueError(f"ids reach to {int(ids.max())}, and there are {count} boxes")
        return Instances(*every, ids)
    if isinstance(result, OrientedBoxes):
        return OrientedBoxes(*every, np.asarray(result.rotated, np.float32).reshape(count, 5))
    return Boxes(*every)


def _image(what: str, given: Any, kinds: tuple[type[Any], ...]) -> npt.NDArray[Any]:
    image: npt.NDArray[Any] = np.asarray(given)
    if image.dtype not in kinds or image.ndim != 2:
        wanted = " or ".join(np.dtype(kind).name for kind in kinds)
        raise ValueError(f"{what} are {image.dtype} of shape {list(image.shape)}, not {wanted} of two dimensions")
    return image


def _words(labels: Iterable[Any]) -> tuple[str, ...]:
    return tuple(str(label) for label in labels)


def _three(vector: Iterable[Any]) -> tuple[float, float, float]:
    x, y, z = (float(part) for part in vector)
    return (x, y, z)
