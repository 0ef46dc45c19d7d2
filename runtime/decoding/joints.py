"""The joints' commands that a control model asks for. What reaches them, `joint_motion` of the executor decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from runtime.contract.node.commands import each
from runtime.contract.node.decoders import read_options
from runtime.decoding.results import JointCommand, View


class JointsDecoder:
    """``joints``: one number of the output for each joint, times ``scale``, plus ``offset``: rad, rad/s or Nm; m, m/s
    or N of a sliding joint."""

    result: ClassVar[type[Any]] = JointCommand

    def __init__(self, options: Mapping[str, Any]) -> None:
        take = read_options("joints", options)
        self._joints: tuple[str, ...] = take["joints"]
        count = len(self._joints)
        self._scale = np.array(each(take["scale"], count), np.float64)
        self._offset = np.array(each(take["offset"], count), np.float64)

    def __call__(self, tensor: npt.NDArray[Any], view: View) -> JointCommand:
        """Decode as many numbers as there are joints. Raises ValueError for another count, and for NaN and infinity."""
        del view
        if tensor.size != len(self._joints):
            raise ValueError(
                f"joints needs {len(self._joints)} numbers, one for each joint, the output has shape "
                f"{list(tensor.shape)}"
            )
        action = np.asarray(tensor, np.float64).ravel()
        values = action * self._scale + self._offset
        finite = np.isfinite(values)
        if not finite.all():
            first = int(np.argmin(finite))
            raise ValueError(f"joints: the action of {self._joints[first]} is {action[first]}, not a finite number")
        return JointCommand(values)
