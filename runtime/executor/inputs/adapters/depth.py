"""Distances that are none, in frames of depth (REP 118)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.contract.node.encodings import Encoding
from runtime.executor.inputs.frames import FrameRefusedError


class DepthValues:
    """Writes a frame's distances into the engine's input: finite, and none beyond the range that is declared.

    No measurement (0 of 16UC1; NaN of 32FC1) becomes 0 or ``max_range``, or refuses the frame. +inf is too far and
    becomes ``max_range`` (0 where none is declared); -inf is too close and becomes 0.
    """

    def __init__(self, encoding: Encoding, options: Mapping[str, Any]) -> None:
        """``options``: valid and complete (`DEPTH_OPTIONS`)."""
        self._encoding = encoding
        self._invalid, self._max = str(options["invalid"]), float(options["max_range"])

    def __call__(self, values: npt.NDArray[Any], tensor: npt.NDArray[Any]) -> None:
        """``values``: (height, width), of either byte order; ``tensor``: the engine's input, batch of one.

        Raises FrameRefusedError.
        """
        floats = self._encoding.dtype == "float32"
        target = tensor[0, ..., 0] if floats else tensor[0].view("<u2")[..., 0]
        np.copyto(target, values)
        if not floats and self._invalid == "zero" and not self._max:
            return
        unknown = np.isnan(target) if floats else target == 0
        if self._invalid == "drop" and (count := int(np.count_nonzero(unknown))):
            raise FrameRefusedError(f"{count} of {target.size} distances are no measurements", "not_finite")
        if floats:
            np.copyto(target, self._max, where=target == np.inf)
            np.copyto(target, 0.0, where=target < 0.0)  # -inf; a distance is never negative
        if self._max:
            np.minimum(target, target.dtype.type(self._max), out=target)
        np.copyto(target, self._max if self._invalid == "max" else 0, where=unknown, casting="unsafe")
