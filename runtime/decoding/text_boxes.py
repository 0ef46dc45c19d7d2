"""Boxes around text, from the probability map of a DB-style detector (PP-OCR and its kin)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from runtime.contract.node.decoders import read_options
from runtime.decoding.camera_geometry import to_frame
from runtime.decoding.regions import Regions, find_regions
from runtime.decoding.results import Boxes, View

_NO_BOXES = Boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), "text")


class TextBoxes:
    """``text_boxes``: regions over ``threshold`` whose mean is over ``box_threshold``, grown by ``unclip``.

    The map's training shrinks text areas; a region is grown back by area x ``unclip`` / perimeter on every side, as
    the detector's authors do with polygons. Regions smaller than ``min_size`` map pixels are noise.
    """

    result: ClassVar[type[Any]] = Boxes

    def __init__(self, options: Mapping[str, Any]) -> None:
        take = read_options("text_boxes", options)
        self._threshold: float = take["threshold"]
        self._box_threshold: float = take["box_threshold"]
        self._unclip: float = take["unclip"]
        self._min_size: int = take["min_size"]
        self._max_boxes: int = take["max_boxes"]

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
        corners = to_frame(self._grown(regions, best), probabilities.shape, view)
        return Boxes(corners, scores[best].astype(np.float32), "text", capped=keep.size - best.size)

    def _grown(self, regions: Regions, which: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return (n, 4): left, top, right, bottom in map pixels, grown by the unclip distance."""
        box = np.stack((regions.left, regions.top, regions.right, regions.bottom), axis=1)[which].astype(np.float64)
        wide, high = box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]
        distance = (wide * high * self._unclip / (2.0 * (wide + high)))[:, None]
        grown: npt.NDArray[np.float64] = box + distance * np.array([-1.0, -1.0, 1.0, 1.0])
        return grown
