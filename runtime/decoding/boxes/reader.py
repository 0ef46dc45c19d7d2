"""From a head's candidates to those that count: over the threshold, best first, in pixels of the network's input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.decoding.frame_boxes import View
from runtime.decoding.heads.candidates import ONE, Array, Candidates, Floats, Ints, Size, Tensors, require_finite
from runtime.decoding.heads.choose import head_named

Doubles = npt.NDArray[np.float64]
Given = Array | Mapping[str, Array]
"""One tensor, or several by their roles."""


@dataclass(frozen=True, slots=True)
class Found:
    """Candidates over the threshold, best first."""

    scores: Floats
    classes: Ints
    raw: Floats
    """(n, 4), as the head gives them."""
    extra: Floats
    """(n, extra)."""
    over: int
    """How many more there are than ``max_candidates``."""


class BoxReader:
    """What all decoders of boxes share: a head, a threshold, class names, and how coordinates are meant."""

    def __init__(self, name: str, take: Mapping[str, Any]) -> None:
        self.name = name
        self.labels: tuple[str, ...] = take["labels"]
        self.head = head_named(name, take, len(self.labels) or take["classes"])
        self.iou: float = take["iou"]
        self.max_detections: int = take["max_detections"]
        self.by_class = not take["class_agnostic"]
        self._layout: str = take.get("layout") or "cxcywh"
        self._normalized: bool = take["normalized"]
        self._threshold: float = take["threshold"]
        self._max_candidates: int = take["max_candidates"]

    def __call__(self, tensors: Tensors, view: View, extra: int = 0) -> Found:
        """Return what counts. Raises ValueError for tensors that are not in the head's layout, and for numbers that are
        not finite, no scores, or no classes."""
        size = Size(view.network_height, view.network_width)
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused, where it counts
            every: Candidates = self.head(tensors, size, extra)
        found = np.flatnonzero(every.scores >= self._threshold)
        best = found[np.argsort(-every.scores[found], kind="stable")[: self._max_candidates]]
        with np.errstate(over="ignore", invalid="ignore"):
            raw, more = every.boxes(best), every.rest(best)
        require_finite(self.name, "coordinates", raw)
        require_finite(self.name, "numbers behind the box", more)
        over = max(0, found.size - self._max_candidates)
        return Found(every.scores[best], every.classes(best), raw, more, over)

    def edges(self, raw: Floats, view: View) -> Doubles:
        """Return left, top, right, bottom in pixels of the network's input, (n, 4) in doubles, in which the sums of any
        two coordinates have room. Raises ValueError when most boxes
        end before they begin: the layout is another one."""
        given = raw.astype(np.float64)
        if self._layout in ("cxcywh", "xywh"):
            start = given[:, :2] - given[:, 2:] / 2 if self._layout == "cxcywh" else given[:, :2]
            given = np.concatenate((start, start + given[:, 2:]), axis=1)
        elif self._layout == "yxyx":
            given = given[:, [1, 0, 3, 2]]
        turned = int(np.count_nonzero((given[:, 2:] < given[:, :2]).any(axis=1)))
        if turned * 2 > len(given):
            raise ValueError(
                f"{self.name}: {turned} of {len(given)} boxes end before they begin, so they are not {self._layout}: "
                "check layout and head"
            )
        return given * self.unit(view)

    def unit(self, view: View) -> Doubles:
        """Return what one of x, y, x, y is in pixels of the network's input, (4,). Raises ValueError where nothing says
        how large that is."""
        rows, columns = self.network(view)
        return np.array([columns, rows] * 2 if self._normalized else [1.0] * 4, np.float64)

    def network(self, view: View) -> tuple[int, int]:
        """Return rows and columns of the network's input. Raises ValueError where nothing says how large that is."""
        if not self._normalized and not (view.network_height and view.network_width):
            raise ValueError(
                f"{self.name}: the configuration does not have the size of the network's input: publish it again with "
                "this version, or export the model with coordinates from 0 to 1 and say normalized: true"
            )
        rows, columns = view.network_height or view.height, view.network_width or view.width
        if not (rows and columns):
            raise ValueError(f"{self.name}: nothing says how large the frame is: the model has no image input")
        return rows, columns


def by_role(given: Given) -> Tensors:
    """Return one tensor as :data:`ONE`, several as they are."""
    return given if isinstance(given, Mapping) else {ONE: given}
