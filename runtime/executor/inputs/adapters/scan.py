"""Laser scans."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from runtime.contract.node.inputs import size_of
from runtime.contract.node.runtime_config import InputBinding
from runtime.executor.inputs.adapters.base import Taken, checked
from runtime.executor.inputs.adapters.cdr import Fields
from runtime.executor.inputs.frames import FrameRefusedError


class _Ranges(NamedTuple):
    values: npt.NDArray[np.float32]
    low: float
    high: float


class LaserScanAdapter:
    """sensor_msgs/msg/LaserScan → float32, one value a beam, metres.

    What is no measurement (NaN, infinite, outside of range_min … range_max) becomes, by the option ``invalid``, the
    scan's range_max (``max``), 0 (``zero``), or refuses the whole scan (``drop``). With ``max``, -inf becomes
    range_min: by REP 117 it means something too close to be measured, and must not look like free space.
    """

    def __init__(self, binding: InputBinding) -> None:
        """Raises OptionError."""
        self._invalid = str(checked(binding)["invalid"])
        self._size = size_of(binding.shape)
        self._arriving, self._filling = _Outside(self._size), _Outside(self._size)

    def take(self, message: bytes) -> Taken:
        """View the ranges. Raises FrameRefusedError."""
        fields = Fields(message)
        stamp = fields.header()
        low, high = fields.unpack("7f")[5:]
        values = fields.sequence("f4")
        if values.size != self._size:
            raise FrameRefusedError(f"{values.size} ranges, expected {self._size}", "size")
        if not (math.isfinite(low) and math.isfinite(high) and 0.0 <= low < high):
            raise FrameRefusedError(f"range_min {low:g} and range_max {high:g} bound no measurement", "limits")
        if self._invalid == "drop" and (count := int(np.count_nonzero(self._arriving(values, low, high)))):
            raise FrameRefusedError(f"{count} of {values.size} ranges are no measurements", "not_finite")
        return Taken(stamp, _Ranges(values, low, high))

    def fill(self, data: _Ranges, tensor: npt.NDArray[Any]) -> None:
        """Copy the ranges, and replace what is no measurement."""
        target = tensor.reshape(-1)
        np.copyto(target, data.values)
        outside = self._filling(target, data.low, data.high)
        if self._invalid == "zero":
            np.copyto(target, 0.0, where=outside)
        elif self._invalid == "max":
            near = self._filling.near(target)
            np.copyto(target, data.high, where=outside)
            np.copyto(target, data.low, where=near)


class _Outside:
    """Finds values outside of limits, in memory of its own."""

    def __init__(self, size: int) -> None:
        self._inside, self._other = np.zeros(size, np.bool_), np.zeros(size, np.bool_)

    def __call__(self, values: npt.NDArray[Any], low: float, high: float) -> npt.NDArray[np.bool_]:
        """True where a value is NaN, below ``low`` or above ``high``."""
        np.greater_equal(values, np.float32(low), out=self._inside)
        np.less_equal(values, np.float32(high), out=self._other)
        np.logical_and(self._inside, self._other, out=self._inside)
        np.logical_not(self._inside, out=self._inside)
        return self._inside

    def near(self, values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """True where a value is -inf."""
        np.equal(values, np.float32(-np.inf), out=self._other)
        return self._other
