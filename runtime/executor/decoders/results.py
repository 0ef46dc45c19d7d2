"""What decoders return: arrays with units, to be put into a message by ``outputs.py``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

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


@dataclass(frozen=True, slots=True)
class Classes:
    """Classes of the whole frame, best first."""

    ids: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    labels: tuple[str, ...]
    """Same length as ``ids``."""


@dataclass(frozen=True, slots=True)
class Mask:
    """One class per pixel, at the resolution of the model's output or of the camera."""

    classes: npt.NDArray[np.uint8]
    """(height, width)."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """The output as it is."""

    name: str
    values: npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Velocity:
    """What the model wants the robot to do, in the robot's own frame (REP 103: x ahead, y left, z up)."""

    linear: tuple[float, float, float]
    """m/s."""
    angular: tuple[float, float, float]
    """rad/s."""


Result = Boxes | Classes | Mask | Tensor | Velocity


class Decoder(Protocol):
    """Turns one output tensor into one result. Made once from its options, called for every frame."""

    result: ClassVar[type[Any]]
    """What ``__call__`` returns: Boxes, Classes, Mask, Tensor or Velocity. It decides the message's type."""

    def __call__(self, tensor: npt.NDArray[Any], view: View) -> Result:
        """Decode. ``tensor`` is valid during the call only. Raises ValueError when its shape is not the decoder's."""
        ...
