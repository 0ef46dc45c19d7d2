"""A camera's calibration: K, D, R and P of the picture as it is published, or of another size."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.contract.node.camera_info import DISTORTION
from runtime.contract.node.runtime_config import InputBinding
from runtime.executor.inputs.adapters.base import Taken, checked
from runtime.executor.inputs.cdr import Fields
from runtime.executor.inputs.frames import FrameRefusedError

LARGEST = float(np.finfo(np.float32).max)
Doubles = npt.NDArray[np.float64]


class CameraInfoAdapter:
    """sensor_msgs/msg/CameraInfo → float32: the chosen matrices, row by row, one after the other.

    K and P of a message are for the full resolution; the region of interest and the binning that it names are applied
    (as the message's definition says), and then they are scaled to ``size`` where that is declared.
    """

    def __init__(self, binding: InputBinding) -> None:
        """Raises OptionError."""
        options = checked(binding)
        self._fields: tuple[str, ...] = tuple(options["fields"])
        self._model: str = options["distortion_model"]
        self._size: tuple[float, ...] = tuple(options["size"])

    def take(self, message: bytes) -> Taken:
        """Read the calibration. Raises FrameRefusedError."""
        fields = Fields(message)
        stamp = fields.header()
        height, width = fields.unpack("II")
        model = fields.text()
        found: dict[str, Doubles] = {"d": fields.sequence("f8")}
        for name, count in (("k", 9), ("r", 9), ("p", 12)):
            found[name] = fields.array("f8", count).astype(np.float64)
        binning = fields.unpack("II")
        offset, region = fields.unpack("II"), fields.unpack("II")
        if "d" in self._fields:
            self._check_distortion(model, found["d"].size)
        if found["k"][0] == 0.0 and {"k", "p"}.intersection(self._fields):
            raise FrameRefusedError("the camera is not calibrated: K begins with 0; calibrate it", "not_measured")
        scale = self._scale((region[1] or width, region[0] or height), binning)
        for name, columns in (("k", 3), ("p", 4)):
            found[name] = _moved(found[name].reshape(3, columns), offset, scale)
        values = np.concatenate([found[name].ravel() for name in self._fields])
        if not (np.abs(values) <= LARGEST).all():  # False for NaN
            raise FrameRefusedError("a number of the calibration is not a finite float32", "not_finite")
        return Taken(stamp, values.astype(np.float32))

    def fill(self, data: npt.NDArray[np.float32], tensor: npt.NDArray[Any]) -> None:
        """Copy the numbers."""
        np.copyto(tensor.reshape(-1), data)

    def _check_distortion(self, model: str, count: int) -> None:
        if model != self._model:
            raise FrameRefusedError(
                f"distortion_model is {model or 'empty'}, expected {self._model}: declare it under options", "fields"
            )
        if count != DISTORTION[self._model]:
            raise FrameRefusedError(f"D has {count} numbers, {self._model} has {DISTORTION[self._model]}", "size")

    def _scale(self, region: tuple[int, int], binning: tuple[int, int]) -> tuple[float, float]:
        """Return by how much columns and rows of the region become those of the picture."""
        if not self._size:
            return 1.0 / max(1, binning[0]), 1.0 / max(1, binning[1])
        if not all(region):
            raise FrameRefusedError("width or height is 0, so K cannot be scaled to another size", "size")
        return self._size[0] / region[0], self._size[1] / region[1]


def _moved(matrix: Doubles, offset: tuple[int, int], scale: tuple[float, float]) -> Doubles:
    """Return a camera matrix for a picture that begins at ``offset`` (columns, rows) and is scaled."""
    moved: Doubles = matrix.copy()
    moved[:2] -= np.outer(offset, matrix[2])
    moved[:2] *= np.array(scale)[:, None]
    return moved
