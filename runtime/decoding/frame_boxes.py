"""Boxes in the pixels of a frame, and how the network saw that frame."""

from __future__ import annotations

from dataclasses import dataclass

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
