"""Messages that are a few numbers: Imu and Twist."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.contract.node.inputs import IMU, IMU_FIELDS, TWIST, TWIST_FIELDS, chosen_fields, size_of
from runtime.contract.node.runtime_config import InputBinding
from runtime.executor.inputs.adapters.base import Taken, checked
from runtime.executor.inputs.cdr import Fields
from runtime.executor.inputs.frames import FrameRefusedError

# Every vector of an Imu is followed by its 3x3 covariance; the first element of that is -1 where the sensor does not
# measure the vector (sensor_msgs/msg/Imu).
_IMU_AT = dict(zip(IMU_FIELDS, (0, 1, 2, 3, 13, 14, 15, 25, 26, 27), strict=True))
_IMU_COVARIANCES = {"orientation": 4, "angular_velocity": 16, "linear_acceleration": 28}
_IMU_DOUBLES = 37
_LARGEST = float(np.finfo(np.float32).max)
_TWIST_AT = {name: index for index, name in enumerate(TWIST_FIELDS)}


class VectorAdapter:
    """sensor_msgs/msg/Imu, geometry_msgs/msg/Twist or TwistStamped → float32, the chosen fields in their order."""

    def __init__(self, binding: InputBinding) -> None:
        """Raises OptionError."""
        fields = chosen_fields(binding.type, tuple(checked(binding)["fields"]), size_of(binding.shape))
        offsets = _IMU_AT if binding.type == IMU else _TWIST_AT
        self._stamped = binding.type != TWIST
        self._doubles = _IMU_DOUBLES if binding.type == IMU else len(TWIST_FIELDS)
        self._fields = fields
        self._at = np.array([offsets[name] for name in fields], np.intp)
        groups = {name.partition(".")[0] for name in fields} if binding.type == IMU else set()
        self._measured = [(name, at) for name, at in _IMU_COVARIANCES.items() if name in groups]
        self._oriented = "orientation" in groups
        self._arriving, self._filling = _Picked(self._doubles, self._at), _Picked(self._doubles, self._at)
        self._finite = np.zeros(len(fields), np.bool_)

    def take(self, message: bytes) -> Taken:
        """View the numbers. Raises FrameRefusedError."""
        fields = Fields(message)
        stamp = fields.header() if self._stamped else None
        doubles = fields.array("f8", self._doubles)
        for name, at in self._measured:
            if doubles[at] == -1.0:
                raise FrameRefusedError(f"the sensor does not measure {name}: its covariance is -1", "not_measured")
        if self._oriented and not np.any(doubles[:4]):
            raise FrameRefusedError(
                "orientation is the zero quaternion, which is not a rotation: the sensor does not measure it; choose "
                "other fields",
                "not_measured",
            )
        picked = self._arriving(doubles)
        np.less_equal(np.abs(picked, out=picked), _LARGEST, out=self._finite)  # False for NaN
        if not self._finite.all():
            wrong = self._fields[int(np.argmin(self._finite))]
            raise FrameRefusedError(f"{wrong} is not a finite float32", "not_finite")
        return Taken(stamp, doubles)

    def fill(self, data: npt.NDArray[np.float64], tensor: npt.NDArray[Any]) -> None:
        """Copy the chosen numbers."""
        np.copyto(tensor.reshape(-1), self._filling(data), casting="same_kind")


class _Picked:
    """Takes chosen values out of a vector, in memory of its own."""

    def __init__(self, size: int, at: npt.NDArray[np.intp]) -> None:
        self._at, self._all, self._chosen = at, np.zeros(size), np.zeros(at.size)

    def __call__(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        np.copyto(self._all, values)  # aligned, and in this machine's byte order
        return np.take(self._all, self._at, out=self._chosen, mode="clip")
