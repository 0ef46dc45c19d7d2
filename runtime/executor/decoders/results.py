"""What decoders return: arrays with units, to be put into a message by ``outputs.py``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

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


@dataclass(frozen=True, slots=True)
class Boxes:
    """Axis-aligned boxes in pixels of the frame, best first. No boxes is a result too."""

    corners: npt.NDArray[np.float32]
    """(n, 4): left, top, width, height."""
    scores: npt.NDArray[np.float32]
    """(n,): 0 to 1."""
    label: str = ""


@dataclass(frozen=True, slots=True)
class Classes:
    """Classes of the whole frame, best first."""

    ids: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    labels: tuple[str, ...]
    """Same length as ``ids``."""


@dataclass(frozen=True, slots=True)
class Mask:
    """One class per pixel, at the resolution of the model's output."""

    classes: npt.NDArray[np.uint8]
    """(height, width)."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """The output as it is."""

    name: str
    values: npt.NDArray[np.generic]


Result = Boxes | Classes | Mask | Tensor


class Decoder(Protocol):
    """Turns one output tensor into one result. Made once from its options, called for every frame."""

    def __call__(self, tensor: npt.NDArray[Any], view: View) -> Result:
        """Decode. ``tensor`` is valid during the call only. Raises ValueError when its shape is not the decoder's."""
        ...
