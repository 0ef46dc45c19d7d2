"""Messages that are a few numbers with names: Imu, twists, poses, odometry."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from runtime.contract.node.inputs import (
    IMU,
    IMU_FIELDS,
    ODOMETRY,
    ODOMETRY_FIELDS,
    POSE_FIELDS,
    POSE_STAMPED,
    TWIST,
    TWIST_FIELDS,
    TWIST_STAMPED,
    chosen_fields,
    size_of,
)
from runtime.contract.node.runtime_config import InputBinding
from runtime.executor.inputs.adapters.base import Taken, checked
from runtime.executor.inputs.cdr import Fields
from runtime.executor.inputs.frames import FrameRefusedError

_LARGEST = float(np.finfo(np.float32).max)


class _Layout(NamedTuple):
    """Where the numbers of a message are among its doubles."""

    at: dict[str, int]
    doubles: int
    stamped: bool = True
    child_frame: bool = False
    """A frame's name comes between header and numbers."""
    orientation: int = -1
    """Where its quaternion begins; -1: it has none."""
    quaternion: str = ""
    """Beginning of the names of its quaternion's fields."""
    covariances: Mapping[str, int] = MappingProxyType({})
    """Vector → where its covariance begins, whose first element is -1 where the sensor does not measure the vector."""


_TWIST = _Layout({name: index for index, name in enumerate(TWIST_FIELDS)}, len(TWIST_FIELDS))
_LAYOUTS = {
    # Every vector of an Imu is followed by its 3x3 covariance (sensor_msgs/msg/Imu).
    IMU: _Layout(
        dict(zip(IMU_FIELDS, (0, 1, 2, 3, 13, 14, 15, 25, 26, 27), strict=True)),
        37,
        orientation=0,
        quaternion="orientation",
        covariances={"orientation": 4, "angular_velocity": 16, "linear_acceleration": 28},
    ),
    TWIST: _TWIST._replace(stamped=False),
    TWIST_STAMPED: _TWIST,
    POSE_STAMPED: _Layout(
        {name: index for index, name in enumerate(POSE_FIELDS)}, 7, orientation=3, quaternion="orientation"
    ),
    # Pose and twist are each followed by a 6x6 covariance (nav_msgs/msg/Odometry).
    ODOMETRY: _Layout(
        dict(zip(ODOMETRY_FIELDS, (*range(7), *range(43, 49)), strict=True)),
        85,
        child_frame=True,
        orientation=3,
        quaternion="pose.orientation",
    ),
}


class VectorAdapter:
    """Imu, Twist, TwistStamped, PoseStamped or Odometry → float32, the chosen fields in their order."""

    def __init__(self, binding: InputBinding) -> None:
        """Raises OptionError."""
        fields = chosen_fields(binding.type, tuple(checked(binding)["fields"]), size_of(binding.shape))
        layout = _LAYOUTS[binding.type]
        self._layout, self._fields = layout, fields
        self._at = np.array([layout.at[name] for name in fields], np.intp)
        groups = {name.partition(".")[0] for name in fields}
        self._measured = [(name, at) for name, at in layout.covariances.items() if name in groups]
        self._oriented = bool(layout.quaternion) and any(name.startswith(layout.quaternion) for name in fields)
        self._arriving, self._filling = _Picked(layout.doubles, self._at), _Picked(layout.doubles, self._at)
        self._finite = np.zeros(len(fields), np.bool_)

    def take(self, message: bytes) -> Taken:
        """View the numbers. Raises FrameRefusedError."""
        fields = Fields(message)
        stamp = fields.header() if self._layout.stamped else None
        if self._layout.child_frame:
            fields.text()
        doubles = fields.array("f8", self._layout.doubles)
        for name, at in self._measured:
            if doubles[at] == -1.0:
                raise FrameRefusedError(f"the sensor does not measure {name}: its covariance is -1", "not_measured")
        first = self._layout.orientation
        if self._oriented and not np.any(doubles[first : first + 4]):
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
