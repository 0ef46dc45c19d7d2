"""From the network's pixels back to the camera's."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.decoding.frame_boxes import View
from runtime.decoding.letterbox import letterbox


def to_frame(corners: npt.NDArray[Any], shape: tuple[int, ...], view: View) -> npt.NDArray[np.float32]:
    """Map left, top, right, bottom (n, 4) in pixels of a map of ``shape`` (rows, columns), which shows what the network
    saw, to left, top, width, height in pixels of the frame, cut at the frame's edges."""
    rows, columns = shape
    if view.letterbox:
        placed = letterbox(view.height, view.width, rows, columns)
        corners = corners - np.array([placed.left, placed.top, placed.left, placed.top], np.float64)
        rows, columns = placed.height, placed.width
    scale = np.array([view.width / columns, view.height / rows] * 2)
    limit = np.array([view.width, view.height] * 2, np.float64)
    cut = np.clip(corners * scale, 0.0, limit)
    return np.concatenate((cut[:, :2], cut[:, 2:] - cut[:, :2]), axis=1).astype(np.float32)


def camera_grid(shape: tuple[int, ...], view: View) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return, for every row and every column of the frame, which row and column of a map of ``shape`` shows it."""
    rows, columns = shape
    top = left = 0
    if view.letterbox:
        placed = letterbox(view.height, view.width, rows, columns)
        top, left, rows, columns = placed.top, placed.left, placed.height, placed.width
    down = top + (np.arange(view.height) * 2 + 1) * rows // (2 * view.height)
    across = left + (np.arange(view.width) * 2 + 1) * columns // (2 * view.width)
    return down.astype(np.intp), across.astype(np.intp)
