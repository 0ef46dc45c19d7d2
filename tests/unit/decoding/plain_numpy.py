"""The arithmetic of decoders once more, plainly: one box, one pixel, one pair at a time. Shares no code with them.

Coordinates are of a network's input; ``Fitted`` takes them to the camera's frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Fitted:
    """A frame of width x height pixels in a network's input: stretched, or with bars in the middle or behind."""

    width: int
    height: int
    network_width: int
    network_height: int
    bars: str = "none"
    """none | centre | top_left."""

    @property
    def placed(self) -> tuple[float, float, float, float]:
        """Left, top, and how many pixels of the network's input one of the frame is, across and down."""
        if self.bars == "none":
            return 0.0, 0.0, self.network_width / self.width, self.network_height / self.height
        ratio = min(self.network_width / self.width, self.network_height / self.height)
        wide, high = round(self.width * ratio), round(self.height * ratio)
        left = top = 0
        if self.bars == "centre":
            left, top = (self.network_width - wide) // 2, (self.network_height - high) // 2
        return left, top, wide / self.width, high / self.height

    def point(self, x: float, y: float) -> tuple[float, float]:
        left, top, across, down = self.placed
        return (x - left) / across, (y - top) / down

    def box(self, x1: float, y1: float, x2: float, y2: float) -> Box:
        """Left, top, right, bottom in the frame, cut at its edges."""
        (left, top), (right, bottom) = self.point(x1, y1), self.point(x2, y2)
        wide, high = float(self.width), float(self.height)
        return (
            min(max(left, 0.0), wide),
            min(max(top, 0.0), high),
            min(max(right, 0.0), wide),
            min(max(bottom, 0.0), high),
        )


def overlap(a: Box, b: Box) -> float:
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(wide, 0.0) * max(high, 0.0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union > 0 else 0.0


def thinned(found: Sequence[dict[str, Any]], limit: float) -> list[dict[str, Any]]:
    """Greedy suppression, class by class, best first."""
    kept: list[dict[str, Any]] = []
    for one in sorted(found, key=lambda each: -each["score"]):
        rivals = (other for other in kept if other["class"] == one["class"])
        if all(overlap(one["box"], other["box"]) <= limit for other in rivals):
            kept.append(one)
    return kept


def sigmoid(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-value))


def softmax(values: Sequence[float]) -> list[float]:
    powers = [math.exp(value - max(values)) for value in values]
    return [power / sum(powers) for power in powers]


def corners(x: float, y: float, wide: float, high: float) -> Box:
    return x - wide / 2, y - high / 2, x + wide / 2, y + high / 2


def candidate(fitted: Fitted, box: Sequence[float], score: float, number: int, **more: Any) -> dict[str, Any]:
    return {"box": fitted.box(*map(float, box)), "score": float(score), "class": int(number), **more}


def yolox_cells(width: int, height: int, strides: Sequence[int]) -> list[tuple[int, int, int]]:
    return [
        (column, row, stride)
        for stride in strides
        for row in range(height // stride)
        for column in range(width // stride)
    ]


def polygon_overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes at an angle (x, y, width, height, radians), by clipping one polygon with
    each side of the other (Sutherland-Hodgman)."""
    one, other = turned(a), turned(b)
    shared = list(one)
    for index in range(4):
        start, end = other[index], other[(index + 1) % 4]
        shared = clipped(shared, start, end)
    both = area(shared)
    union = abs(a[2] * a[3]) + abs(b[2] * b[3]) - both
    return both / union if union > 0 else 0.0


def turned(box: Sequence[float]) -> list[tuple[float, float]]:
    x, y, wide, high, angle = box
    found = []
    for across, down in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
        u, v = across * wide / 2, down * high / 2
        found.append((x + u * math.cos(angle) - v * math.sin(angle), y + u * math.sin(angle) + v * math.cos(angle)))
    return found


def clipped(
    points: list[tuple[float, float]], start: tuple[float, float], end: tuple[float, float]
) -> list[tuple[float, float]]:
    def side(point: tuple[float, float]) -> float:
        return (end[0] - start[0]) * (point[1] - start[1]) - (end[1] - start[1]) * (point[0] - start[0])

    found: list[tuple[float, float]] = []
    for index, here in enumerate(points):
        before = points[index - 1]
        if (side(before) >= 0) != (side(here) >= 0):
            part = side(before) / (side(before) - side(here))
            found.append((before[0] + part * (here[0] - before[0]), before[1] + part * (here[1] - before[1])))
        if side(here) >= 0:
            found.append(here)
    return found


def area(points: Sequence[tuple[float, float]]) -> float:
    ring = [*points[1:], *points[:1]]
    return abs(sum(x * v - u * y for (x, y), (u, v) in zip(points, ring, strict=True))) / 2


def bilinear(plane: np.ndarray, x: float, y: float) -> float:
    """A plane's value at a place between its pixels' middles; outside of them the nearest one's."""
    rows, columns = plane.shape
    x, y = min(max(x, 0.0), columns - 1.0), min(max(y, 0.0), rows - 1.0)
    left, top = int(x), int(y)
    right, bottom = min(left + 1, columns - 1), min(top + 1, rows - 1)
    across, down = x - left, y - top
    upper = plane[top, left] * (1 - across) + plane[top, right] * across
    lower = plane[bottom, left] * (1 - across) + plane[bottom, right] * across
    return float(upper * (1 - down) + lower * down)
