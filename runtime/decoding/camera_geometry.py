"""From the network's pixels back to the camera's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.decoding.frame_boxes import View
from runtime.decoding.letterbox import letterbox


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


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the frame lies in a map, in the map's pixels. A map is smaller than the network's input, as a rule: bars
    that are whole pixels there are parts of one here."""

    top: float
    left: float
    height: float
    width: float


def placement(shape: tuple[int, ...], view: View) -> Placement:
    """Return where the frame lies in a map of ``shape`` that shows what the network saw."""
    rows, columns = shape
    if not view.letterbox:
        return Placement(0.0, 0.0, rows, columns)
    high, wide = view.network_height or rows, view.network_width or columns
    placed = letterbox(view.height, view.width, high, wide, top_left=view.top_left)
    down, across = rows / high, columns / wide
    return Placement(placed.top * down, placed.left * across, placed.height * down, placed.width * across)


def scales(shape: tuple[int, ...], view: View) -> tuple[float, float]:
    """Return how many pixels of the frame one of a map of ``shape`` is, across and down."""
    placed = placement(shape, view)
    return view.width / placed.width, view.height / placed.height


def camera_grid(shape: tuple[int, ...], view: View) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return, for every row and every column of the frame, which row and column of a map of ``shape`` shows it."""
    placed = placement(shape, view)
    down = np.floor(placed.top + (np.arange(view.height) * 2 + 1) * placed.height / (2 * view.height))
    across = np.floor(placed.left + (np.arange(view.width) * 2 + 1) * placed.width / (2 * view.width))
    rows, columns = shape
    return np.minimum(down, rows - 1).astype(np.intp), np.minimum(across, columns - 1).astype(np.intp)
