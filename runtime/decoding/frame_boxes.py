"""Boxes in the pixels of a frame, and how the network saw that frame."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class View:
    """How the model saw the frame: what is needed to take results back to the frame's pixels."""

    height: int
    """Rows of the frame."""
    width: int
    letterbox: bool = False
    """The frame was fitted with bars, not stretched."""
    network_height: int = 0
    """Rows of the network's input tensor; 0 when the configuration does not say."""
    network_width: int = 0
    top_left: bool = False
    """Of a letterbox: the frame is at the top left, both bars are behind it."""


@dataclass(frozen=True, slots=True)
class Boxes:
    """Axis-aligned boxes in pixels of the frame, best first. No boxes is a result too."""

    corners: npt.NDArray[np.float32]
    """(n, 4): left, top, width, height."""
    scores: npt.NDArray[np.float32]
    """(n,): 0 to 1."""
    label: str = ""
    """Of every box, where ``classes`` is None."""
    classes: npt.NDArray[np.int64] | None = None
    """(n,): class numbers."""
    labels: tuple[str, ...] = ()
    """Names of the classes, by number; a number without a name is its own name."""
    capped: int = 0
    """Boxes that were found and are not here, because there is a most."""

    def names(self) -> list[str]:
        """Return the name of every box's class, best box first."""
        if self.classes is None:
            return [self.label] * len(self.scores)
        known = len(self.labels)
        return [self.labels[one] if one < known else str(one) for one in self.classes.tolist()]


def _none() -> npt.NDArray[np.float32]:
    return np.zeros(0, np.float32)


@dataclass(frozen=True, slots=True)
class Keypoints(Boxes):
    """Objects with named points. A point may lie outside the frame, and outside its object's box."""

    points: npt.NDArray[np.float32] = field(default_factory=_none)
    """(n, K, 2): x and y in pixels of the frame."""
    visible: npt.NDArray[np.float32] = field(default_factory=_none)
    """(n, K): 0 to 1, how sure the model is of the point; 1 where it does not say."""
    points_named: tuple[str, ...] = ()
    """(K,)"""


@dataclass(frozen=True, slots=True)
class Instances(Boxes):
    """Objects with the pixels that they cover."""

    ids: npt.NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 0), np.uint8))
    """(rows, columns) of the frame or of the model's masks: 0 for nothing, k for the k-th box, counted from 1. Where
    objects cover each other, the better one's."""


@dataclass(frozen=True, slots=True)
class OrientedBoxes(Boxes):
    """Boxes at an angle. ``corners`` are the upright boxes around them, cut at the frame's edges; these are not cut."""

    rotated: npt.NDArray[np.float32] = field(default_factory=_none)
    """(n, 5): centre x and y, width, height in pixels of the frame, and the angle of the width's side, radians from
    -pi/2 to pi/2, positive from x towards y (clockwise in the picture)."""
