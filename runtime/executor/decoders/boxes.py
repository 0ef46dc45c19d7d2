"""Boxes around text, from the probability map of a DB-style detector (PP-OCR and its kin)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.engines.letterbox import letterbox
from runtime.executor.decoders.options import Options
from runtime.executor.decoders.regions import Regions, find_regions
from runtime.executor.decoders.results import Boxes, View

_NO_BOXES = Boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), "text")


class TextBoxes:
    """``text_boxes``: regions over ``threshold`` whose mean is over ``box_threshold``, grown by ``unclip``.

    The map's training shrinks text areas; a region is grown back by area x ``unclip`` / perimeter on every side, as
    the detector's authors do with polygons. Regions smaller than ``min_size`` map pixels are noise.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        take = Options("text_boxes", options)
        self._threshold = take.number("threshold", 0.3, 0.0, 1.0)
        self._box_threshold = take.number("box_threshold", 0.6, 0.0, 1.0)
        self._unclip = take.number("unclip", 1.5, 0.0, 10.0)
        self._min_size = take.whole("min_size", 3, 1, 1000)
        self._max_boxes = take.whole("max_boxes", 100, 1, 1000)
        take.finish()

    def __call__(self, tensor: npt.NDArray[Any], view: View) -> Boxes:
        """Decode a map of shape (1, 1, rows, columns), (1, rows, columns) or (rows, columns)."""
        if tensor.ndim < 2 or tensor.size != tensor.shape[-1] * tensor.shape[-2]:
            raise ValueError(f"text_boxes needs one probability map, the output has shape {list(tensor.shape)}")
        probabilities = np.asarray(tensor, np.float32).reshape(tensor.shape[-2:])
        regions = find_regions(probabilities, self._threshold)
        scores = regions.total / np.maximum(regions.area, 1)
        wide, high = regions.right - regions.left, regions.bottom - regions.top
        keep = np.flatnonzero((scores >= self._box_threshold) & (np.minimum(wide, high) >= self._min_size))
        if not keep.size:
            return _NO_BOXES
        best = keep[np.argsort(-scores[keep], kind="stable")][: self._max_boxes]
        corners = _to_frame(self._grown(regions, best), probabilities.shape, view)
        return Boxes(corners, scores[best].astype(np.float32), "text")

    def _grown(self, regions: Regions, which: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return (n, 4): left, top, right, bottom in map pixels, grown by the unclip distance."""
        box = np.stack((regions.left, regions.top, regions.right, regions.bottom), axis=1)[which].astype(np.float64)
        wide, high = box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]
        distance = (wide * high * self._unclip / (2.0 * (wide + high)))[:, None]
        grown: npt.NDArray[np.float64] = box + distance * np.array([-1.0, -1.0, 1.0, 1.0])
        return grown


def _to_frame(box: npt.NDArray[np.float64], shape: tuple[int, ...], view: View) -> npt.NDArray[np.float32]:
    """Map corners in map pixels to left, top, width, height in frame pixels, inside the frame."""
    rows, columns = shape
    if view.letterbox:
        placed = letterbox(view.height, view.width, rows, columns)
        box = box - np.array([placed.left, placed.top, placed.left, placed.top], np.float64)
        rows, columns = placed.height, placed.width
    scale = np.array([view.width / columns, view.height / rows] * 2)
    limit = np.array([view.width, view.height] * 2, np.float64)
    box = np.clip(box * scale, 0.0, limit)
    return np.concatenate((box[:, :2], box[:, 2:] - box[:, :2]), axis=1).astype(np.float32)
