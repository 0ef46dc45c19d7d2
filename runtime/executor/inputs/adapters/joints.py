"""Joint states, taken by the names of their joints."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.contract.node.inputs import JOINT_FIELDS
from runtime.contract.node.runtime_config import InputBinding
from runtime.executor.inputs.adapters.base import Taken, checked
from runtime.executor.inputs.cdr import Fields
from runtime.executor.inputs.frames import FrameRefusedError

MOST_JOINTS = 4096
"""Of one message: more is garbled."""
LARGEST = float(np.finfo(np.float32).max)

Floats = npt.NDArray[np.float32]


class JointStateAdapter:
    """sensor_msgs/msg/JointState → float32: the first field of all joints, then the next one, in the declared order.

    The message may name joints in any order, and more of them. Velocities or efforts that a driver leaves out are
    empty, or NaN: they refuse the message, or are 0, by the option ``missing``. A joint or a position that is missing
    always refuses it.
    """

    def __init__(self, binding: InputBinding) -> None:
        """Raises OptionError."""
        options = checked(binding)
        self._joints: tuple[str, ...] = tuple(options["joints"])
        self._fields = tuple(JOINT_FIELDS.index(name) for name in options["fields"])
        self._fill_missing = options["missing"] == "zero"
        self._names: tuple[str, ...] = ()
        self._at: npt.NDArray[np.intp] = np.zeros(0, np.intp)

    def take(self, message: bytes) -> Taken:
        """Read the chosen numbers. Raises FrameRefusedError."""
        fields = Fields(message)
        stamp = fields.header()
        (count,) = fields.unpack("I")
        if count > MOST_JOINTS:
            raise fields.short()
        names = tuple(fields.text() for _ in range(count))
        if names != self._names:
            self._at, self._names = self._places(names), names
        numbers = [fields.sequence("f8") for _ in JOINT_FIELDS]
        return Taken(stamp, np.concatenate([self._chosen(index, numbers[index]) for index in self._fields]))

    def fill(self, data: Floats, tensor: npt.NDArray[Any]) -> None:
        """Copy the numbers."""
        np.copyto(tensor.reshape(-1), data)

    def _places(self, names: tuple[str, ...]) -> npt.NDArray[np.intp]:
        if len(set(names)) != len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise FrameRefusedError(f"joint {', '.join(twice)} is named twice in one message", "joints")
        missing = [name for name in self._joints if name not in names]
        if missing:
            raise FrameRefusedError(
                f"no joint is called {', '.join(missing)}; the message has {', '.join(names) or 'none'}: correct "
                "joints under options, or the driver",
                "joints",
            )
        return np.array([names.index(name) for name in self._joints], np.intp)

    def _chosen(self, field: int, numbers: npt.NDArray[np.float64]) -> Floats:
        name = JOINT_FIELDS[field]
        if numbers.size != len(self._names):
            if numbers.size:
                raise FrameRefusedError(f"{numbers.size} values of {name} for {len(self._names)} joints", "size")
            numbers = np.full(len(self._names), np.nan)
        chosen = numbers[self._at]
        unknown = ~(np.abs(chosen) <= LARGEST)  # True for NaN
        if unknown.any():
            if not self._fill_missing or field == 0 or np.isinf(chosen[unknown]).any():
                first = self._joints[int(np.argmax(unknown))]
                cure = "" if field == 0 else "; declare options: {missing: zero} if the model may have 0 instead"
                raise FrameRefusedError(f"the {name} of {first} is not a finite float32{cure}", "not_finite")
            chosen[unknown] = 0.0
        return chosen.astype(np.float32)
