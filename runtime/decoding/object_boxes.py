"""Boxes of an object detector whose output is one row of numbers a candidate (YOLO and its kin)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from runtime.contract.node.decoders import read_options
from runtime.decoding.camera_geometry import to_frame
from runtime.decoding.frame_boxes import Boxes, View
from runtime.decoding.nms import suppress

Floats = npt.NDArray[np.float32]
SCORE_ROUNDING = 0.01
"""A score may be this far outside 0 to 1: half precision and int8 round, and one step of int8 is 1/255."""


class ObjectBoxes:
    """``boxes``: candidates over ``threshold``, thinned by class-wise suppression at ``iou``, in the frame's pixels.

    A row is 4 coordinates (``layout``: cxcywh or xyxy, in pixels of the network's input, or 0 to 1 with
    ``normalized``), with ``objectness`` one number that scales the scores, then one score a class (``sigmoid`` for
    graphs that end in logits). ``channels_first`` is for outputs with one candidate a column. At most
    ``max_candidates`` of the best candidates are compared with each other and ``max_detections`` are returned; what is
    over is counted.
    """

    result: ClassVar[type[Any]] = Boxes

    def __init__(self, options: Mapping[str, Any]) -> None:
        take = read_options("boxes", options)
        self._centred = take["layout"] == "cxcywh"
        self._first_class = 5 if take["objectness"] else 4
        self._channels_first: bool = take["channels_first"]
        self._normalized: bool = take["normalized"]
        self._sigmoid: bool = take["sigmoid"]
        self._threshold: float = take["threshold"]
        self._iou: float = take["iou"]
        self._by_class = not take["class_agnostic"]
        self._max_candidates: int = take["max_candidates"]
        self._max_detections: int = take["max_detections"]
        self._labels: tuple[str, ...] = take["labels"]
        self._classes: int = len(self._labels) or take["classes"]

    def __call__(self, tensor: npt.NDArray[Any], view: View) -> Boxes:
        """Decode (1, N, 4 + C) or (N, 4 + C), with objectness 5 + C; with ``channels_first`` the last two swapped.

        Raises ValueError for another shape, for scores or coordinates that are not finite, and when the view does not
        say how large the network's input is.
        """
        rows = self._rows(tensor)
        scores = self._best_scores(rows)
        if not np.isfinite(scores).all():
            raise ValueError("boxes: the output holds scores that are not finite numbers")
        _require_scores(scores)
        found = np.flatnonzero(scores >= self._threshold)
        best = found[np.argsort(-scores[found], kind="stable")[: self._max_candidates]]
        raw = np.asarray(rows[best, :4], np.float32)
        if not np.isfinite(raw).all():
            raise ValueError("boxes: the output holds coordinates that are not finite numbers")
        corners = self._corners(raw, view)
        inside = (corners[:, 2:] > 0.0).all(axis=1)  # left, top, width, height: something of it is in the frame
        best, corners = best[inside], corners[inside]
        classes = rows[best, self._first_class :].argmax(axis=1)
        edges = np.concatenate((corners[:, :2], corners[:, :2] + corners[:, 2:]), axis=1)
        keep = np.flatnonzero(suppress(edges, classes if self._by_class else None, self._iou))
        capped = max(0, keep.size - self._max_detections) + max(0, found.size - self._max_candidates)
        keep = keep[: self._max_detections]
        return Boxes(corners[keep], scores[best[keep]], "", classes[keep], self._labels, capped)

    def class_columns(self, tensor: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return what is read as scores, (candidates, classes), as the model gives it. Raises ValueError."""
        columns: npt.NDArray[Any] = self._rows(tensor)[:, self._first_class :]
        return columns

    def _rows(self, tensor: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return a view of one candidate a row."""
        if tensor.ndim not in (2, 3) or (tensor.ndim == 3 and tensor.shape[0] != 1):
            raise ValueError(f"boxes needs shape (1, candidates, values), the output has {list(tensor.shape)}")
        rows: npt.NDArray[Any] = tensor.reshape(tensor.shape[-2:])
        rows = rows.T if self._channels_first else rows
        values = int(rows.shape[-1])
        if values != self._first_class + self._classes:
            raise ValueError(
                f"boxes needs {self._first_class} + {self._classes} values for each candidate, the output "
                f"{list(tensor.shape)} has {values}: check labels or classes, objectness and channels_first; what else "
                "a model gives (keypoints, mask coefficients, angles, class numbers) is no score of a class"
            )
        return rows

    def _best_scores(self, rows: npt.NDArray[Any]) -> Floats:
        """Return the best class's score of every candidate, (N,), 0 to 1."""
        scores = _best(rows[:, self._first_class :]).astype(np.float32)
        if self._sigmoid:
            scores = _sigmoid(scores)
        if self._first_class == 5:
            objectness = rows[:, 4].astype(np.float32)
            scores = scores * (_sigmoid(objectness) if self._sigmoid else objectness)
        return scores

    def _corners(self, raw: Floats, view: View) -> Floats:
        """Return left, top, width, height in pixels of the frame, inside the frame, (n, 4)."""
        if not self._normalized and not (view.network_height and view.network_width):
            raise ValueError(
                "boxes: the configuration does not have the size of the network's input: publish it again with this "
                "version, or export the model with coordinates from 0 to 1 and say normalized: true"
            )
        rows, columns = view.network_height or view.height, view.network_width or view.width
        corners: npt.NDArray[Any] = raw
        if self._normalized:
            corners = corners * np.array([columns, rows, columns, rows], np.float32)
        if self._centred:
            half = corners[:, 2:] / 2
            corners = np.concatenate((corners[:, :2] - half, corners[:, :2] + half), axis=1)
        return to_frame(corners, (rows, columns), view)


def _require_scores(scores: Floats) -> None:
    """Raise ValueError for numbers that are no scores: logits, pixels, class numbers, and what int8 made too large."""
    if scores.size and not (scores.min() >= -SCORE_ROUNDING and scores.max() <= 1.0 + SCORE_ROUNDING):
        raise ValueError(
            f"boxes: the scores reach from {float(scores.min()):.4g} to {float(scores.max()):.4g}, and a score lies "
            "between 0 and 1: check sigmoid, objectness, channels_first and the number of classes; at int8, whether "
            "the same model is right at fp32"
        )


def _best(scores: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the largest value of every row, NaN where there is one: by halves, which is faster than ``max(axis=1)`` of
    many short rows."""
    while scores.shape[1] > 1:
        half = scores.shape[1] // 2
        larger = np.maximum(scores[:, :half], scores[:, half : 2 * half])
        if scores.shape[1] % 2:
            np.maximum(larger[:, :1], scores[:, -1:], out=larger[:, :1])
        scores = larger
    return scores[:, 0]


def _sigmoid(values: Floats) -> Floats:
    squashed: Floats = (1.0 / (1.0 + np.exp(-np.clip(values, -60.0, 60.0)))).astype(np.float32)
    return squashed
