"""What decoders return: arrays with units, which ``runtime.executor.outputs`` puts into a message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from runtime.decoding.frame_boxes import Boxes, Instances, Keypoints, OrientedBoxes, View


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
class Depth:
    """Distance along the camera's axis for every pixel, at the resolution of the model's output or of the camera."""

    values: npt.NDArray[np.float32] | npt.NDArray[np.uint16]
    """(height, width): float32 metres, NaN where there is none; or uint16 millimetres, 0 where there is none."""


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


@dataclass(frozen=True, slots=True)
class JointCommand:
    """What the model wants the joints to do, in the order that is declared."""

    values: npt.NDArray[np.float64]
    """(joints,): rad, rad/s or Nm, by the declared interface; m, m/s or N of a sliding joint."""


__all__ = [
    "Boxes",
    "Classes",
    "Decoder",
    "Depth",
    "Instances",
    "JointCommand",
    "Keypoints",
    "Mask",
    "OrientedBoxes",
    "Result",
    "Tensor",
    "Velocity",
    "View",
]

Result = Boxes | Classes | Depth | JointCommand | Mask | Tensor | Velocity
"""Keypoints, instances and oriented boxes are boxes with something more."""


class Decoder(Protocol):
    """Turns one output tensor, or several by their roles, into one result. Made once from its options, called for every
    frame."""

    result: ClassVar[type[Any]]
    """What ``__call__`` returns, one of the types above. It decides the message's type."""

    def __call__(self, tensor: Any, view: View) -> Result:
        """Decode. ``tensor`` is an array, or a mapping of roles to arrays where the output declares ``tensors``; valid
        during the call only. Raises ValueError when its shape is not the decoder's."""
        ...
