"""The velocity that a control model asks for. What reaches the robot, `velocity_guard` of the executor decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from runtime.contract.node.decoders import read_options
from runtime.decoding.results import Velocity, View

_PLACES = {"linear.x": 0, "linear.y": 1, "linear.z": 2, "angular.x": 3, "angular.y": 4, "angular.z": 5}


class VelocityDecoder:
    """``velocity``: one number of the output for each of ``axes``, times its ``scale``, in m/s and rad/s."""

    result: ClassVar[type[Any]] = Velocity

    def __init__(self, options: Mapping[str, Any]) -> None:
        take = read_options("velocity", options)
        axes: tuple[str, ...] = take["axes"]
        self._places = [_PLACES[axis] for axis in axes]
        self._scale = np.array(take["scale"] or [1.0] * len(axes), np.float64)

    def __call__(self, tensor: npt.NDArray[Any], view: View) -> Velocity:
        """Decode as many numbers as there are axes. Raises ValueError for another count, and for NaN and infinity."""
        del view
        if tensor.size != len(self._places):
            raise ValueError(
                f"velocity needs {len(self._places)} numbers, one for each axis, the output has shape "
                f"{list(tensor.shape)}"
            )
        numbers = np.asarray(tensor, np.float64).ravel() * self._scale
        if not np.isfinite(numbers).all():
            raise ValueError(f"velocity: the model's output {np.asarray(tensor).ravel().tolist()} is not finite")
        six = [0.0] * 6
        for place, number in zip(self._places, numbers.tolist(), strict=True):
            six[place] = number
        return Velocity((six[0], six[1], six[2]), (six[3], six[4], six[5]))
