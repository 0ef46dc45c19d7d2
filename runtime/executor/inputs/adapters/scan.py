"""Laser scans."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from runtime.contract.node.inputs import size_of
from runtime.contract.node.runtime_config import InputBinding
from runtime.executor.inputs.adapters.base import Taken, checked
from runtime.executor.inputs.adapters.scan_beams import Beams, Chosen, Resampler
from runtime.executor.inputs.cdr import Fields
from runtime.executor.inputs.frames import FrameRefusedError

UNBOUNDED_M = 100_000.0
"""A range_max beyond this bounds nothing: drivers write infinity, or the largest float."""


class _Ranges(NamedTuple):
    values: npt.NDArray[np.float32]
    low: float
    high: float
    chosen: Chosen | None = None
    """Set where the declared beams are taken from others."""


class LaserScanAdapter:
    """sensor_msgs/msg/LaserScan → float32, one value a beam, metres.

    What is no measurement (NaN, infinite, outside of range_min … range_max) becomes, by the option ``invalid``, the
    scan's range_max (``max``), 0 (``zero``), or refuses the whole scan (``drop``). With ``max``, -inf becomes
    range_min: by REP 117 it means something too close to be measured, and must not look like free space.

    Beams are in the order of their angles. With ``angles`` declared (of the tensor's first and last value, radians), a
    scan of just those beams the other way round is turned, and any other is refused; without it, a scan whose angles
    fall is refused: it is mirrored to every scan whose angles rise. With ``resample``, the declared beams are taken
    from whatever beams a scan has.
    """

    def __init__(self, binding: InputBinding) -> None:
        """Raises OptionError."""
        options = checked(binding)
        self._invalid, self._angles = str(options["invalid"]), tuple(options["angles"])
        self._max_range = float(options["max_range"])
        self._size = size_of(binding.shape)
        self._resampler: Resampler | None = None
        if options["resample"] != "never":
            first, last = self._angles
            self._resampler = Resampler(first, last, self._size, closest=options["resample"] == "closest")
        self._arriving, self._filling = _Outside(self._size), _Outside(self._size)

    def take(self, message: bytes) -> Taken:
        """View the ranges. Raises FrameRefusedError."""
        fields = Fields(message)
        stamp = fields.header()
        first, _, step, _, _, low, high = fields.unpack("7f")
        values = fields.sequence("f4")
        chosen = None
        if self._resampler is not None:
            chosen = self._resampler.choose(Beams(first, step, values.size))
        elif values.size != self._size:
            raise FrameRefusedError(
                f"{values.size} ranges, expected {self._size}: set the driver to a fixed number of beams, or declare "
                "options: {angles: [first, last], resample: nearest}",
                "size",
            )
        elif self._turned(first, step):
            values = values[::-1]
        high = self._bounded(high)
        if not (math.isfinite(low) and math.isfinite(high) and 0.0 <= low < high):
            raise FrameRefusedError(f"range_min {low:g} and range_max {high:g} are not a range", "limits")
        if self._invalid == "drop" and (count := self._no_measurements(values, low, high)):
            raise FrameRefusedError(f"{count} of {values.size} ranges are not valid measurements", "not_finite")
        return Taken(stamp, _Ranges(values, low, high, chosen))

    def _no_measurements(self, values: npt.NDArray[np.float32], low: float, high: float) -> int:
        outside = self._arriving if values.size == self._size else _Outside(values.size)
        return int(np.count_nonzero(outside(values, low, high)))

    def _turned(self, first: float, step: float) -> bool:
        """Say whether the beams come in the opposite order. Raises FrameRefusedError for others than declared."""
        last = first + step * (self._size - 1)
        if not self._angles:
            if step < 0.0:
                raise FrameRefusedError(
                    f"angle_increment is {step:g}: the angles fall from {first:.4g} to {last:.4g} rad; declare "
                    f"options: {{angles: [{last:.4g}, {first:.4g}]}} to have the beams turned, or the other way round "
                    "to keep them",
                    "angles",
                )
            return False
        tolerance = abs(step) / 2.0 + 1e-4
        for turned, (begins, ends) in ((False, (first, last)), (True, (last, first))):
            if max(abs(begins - self._angles[0]), abs(ends - self._angles[1])) <= tolerance:
                return turned
        raise FrameRefusedError(
            f"beams from {first:.4g} to {last:.4g} rad, expected {self._angles[0]:.4g} to {self._angles[1]:.4g}: set "
            "the driver's angles, or declare options: {angles: [first, last]} as the model was trained",
            "angles",
        )

    def _bounded(self, high: float) -> float:
        """Return the largest range that counts. Raises FrameRefusedError when nothing finite can stand for more."""
        if self._max_range and not math.isnan(high):
            return min(high, self._max_range)
        if high > UNBOUNDED_M:
            if self._invalid == "max":
                raise FrameRefusedError(
                    f"range_max is {high:g} m, so there is no value for a beam without a measurement: declare options: "
                    "{max_range: 30} (metres), or invalid: zero",
                    "limits",
                )
            return float(np.finfo(np.float32).max)
        return high

    def fill(self, data: _Ranges, tensor: npt.NDArray[Any]) -> None:
        """Copy the ranges, and replace what is no measurement."""
        target = tensor.reshape(-1)
        np.copyto(target, data.values if data.chosen is None else _resampled(data, data.chosen))
        outside = self._filling(target, data.low, data.high)
        if self._invalid == "zero":
            np.copyto(target, 0.0, where=outside)
        elif self._invalid == "max":
            near = self._filling.near(target)
            np.copyto(target, data.high, where=outside)
            np.copyto(target, data.low, where=near)


def _resampled(data: _Ranges, chosen: Chosen) -> npt.NDArray[np.float32]:
    """Return the declared beams. What is no measurement stands for none that is; too close (-inf) is closest."""
    values = data.values.astype(np.float32)
    measured = (values >= np.float32(data.low)) & (values <= np.float32(data.high)) | (values == -np.inf)
    return chosen(np.where(measured, values, np.float32(np.nan)))


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
