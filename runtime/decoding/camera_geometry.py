"""From the network's pixels back to the camera's."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.decoding.frame_boxes import View
from runtime.decoding.letterbox import Letterbox, letterbox


def to_frame(corners: npt.NDArray[Any], shape: tuple[int, ...], view: View) -> npt.NDArray[np.float32]:
    """Map left, top, right, bottom (n, 4) in pixels of a map of ``shape`` (rows, columns), which shows what the network
    saw, to left, top, width, height in pixels of the frame, cut at the frame's edges."""
    edges = points_to_frame(corners.reshape(-1, 2), shape, view).reshape(-1, 4)
    return cut(edges, view)


def cut(edges: npt.NDArray[Any], view: View) -> npt.NDArray[np.float32]:
    """Cut left, top, right, bottom (n, 4) at the frame's edges and return left, top, width, height."""
    limit = np.array([view.width, view.height] * 2, np.float64)
    inside = np.clip(edges, 0.0, limit)
    return np.concatenate((inside[:, :2], inside[:, 2:] - inside[:, :2]), axis=1).astype(np.float32)


def points_to_frame(points: npt.NDArray[Any], shape: tuple[int, ...], view: View) -> npt.NDArray[np.float64]:
    """Map x and y (n, 2) in pixels of a map of ``shape`` to pixels of the frame. They may lie outside of it."""
    placed = placement(shape, view)
    moved = points.astype(np.float64) - np.array([placed.left, placed.top], np.float64)
    scaled: npt.NDArray[np.float64] = moved * np.array(scales(shape, view))
    return scaled


def placement(shape: tuple[int, ...], view: View) -> Letterbox:
    """Return where the frame lies in a map of ``shape``."""
    rows, columns = shape
    if view.letterbox:
        return letterbox(view.height, view.width, rows, columns, top_left=view.top_left)
    return Letterbox(rows, columns, 0, 0)


def scales(shape: tuple[int, ...], view: View) -> tuple[float, float]:
    """Return how many pixels of the frame one of a map of ``shape`` is, across and down."""
    placed = placement(shape, view)
    return view.width / placed.width, view.height / placed.height


def camera_grid(shape: tuple[int, ...], view: View) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return, for every row and every column of the frame, which row and column of a map of ``shape`` shows it."""
    placed = placement(shape, view)
    down = placed.top + (np.arange(view.height) * 2 + 1) * placed.height // (2 * view.height)
    across = placed.left + (np.arange(view.width) * 2 + 1) * placed.width // (2 * view.width)
    return down.astype(np.intp), across.astype(np.intp)
