"""Distance along the camera's axis for every pixel, as REP 118 says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from runtime.contract.node.decoders import read_options
from runtime.decoding.camera_geometry import camera_grid
from runtime.decoding.frame_boxes import View
from runtime.decoding.results import Depth

MM_MOST = 65535
"""Of a 16UC1 image."""


class DepthDecoder:
    """``depth``: value x ``scale`` + ``offset`` is metres; with ``inverse`` it is 1/metres (disparity, inverse depth).

    What is not between ``min`` and ``max`` is no depth: NaN in an image of metres, 0 in one of millimetres (REP 118,
    "Depth Images"). ``size``: model leaves the map as the model gives it; camera takes it to the frame's pixels, bars
    off, each the nearest pixel of the model's: nothing is invented between near and far.
    """

    result: ClassVar[type[Any]] = Depth

    def __init__(self, options: Mapping[str, Any]) -> None:
        take = read_options("depth", options)
        self._scale, self._offset = float(take["scale"]), float(take["offset"])
        self._inverse: bool = take["inverse"]
        self._min, self._max = float(take["min"]), float(take["max"])
        self._millimetres = take["unit"] == "mm"
        self._to_camera = take["size"] == "camera"
        self._grid: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]] | None = None
        self._grid_of: tuple[Any, ...] = ()

    def __call__(self, tensor: npt.NDArray[Any], view: View) -> Depth:
        """Decode (1, 1, rows, columns), (1, rows, columns) or (rows, columns). Raises ValueError for another shape, and
        for numbers that are not finite."""
        if tensor.ndim < 2 or not tensor.size or tensor.size != tensor.shape[-1] * tensor.shape[-2]:
            raise ValueError(f"depth needs one map (1, 1, rows, columns), the output has shape {list(tensor.shape)}")
        if tensor.dtype.kind not in "fiu":
            raise ValueError(f"depth needs numbers, the output is {tensor.dtype}")
        values = np.asarray(tensor, np.float32).reshape(tensor.shape[-2:])
        wrong = values.size - int(np.count_nonzero(np.isfinite(values)))
        if wrong:
            raise ValueError(f"depth: {wrong} of {values.size} numbers of the output are not finite")
        metres = self._metres(values)
        if self._to_camera:
            metres = self._of_camera(metres, view)
        return Depth(_millimetres(metres) if self._millimetres else metres)

    def _metres(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return metres, NaN where there is no depth."""
        found = values.astype(np.float64) * self._scale + self._offset
        if self._inverse:
            with np.errstate(divide="ignore"):
                found = np.where(found > 0.0, 1.0 / found, np.nan)
        with np.errstate(invalid="ignore"):
            found[~((found >= self._min) & (found <= self._max) & (found > 0.0))] = np.nan
        return found.astype(np.float32)

    def _of_camera(self, metres: npt.NDArray[np.float32], view: View) -> npt.NDArray[np.float32]:
        if self._grid is None or self._grid_of != (metres.shape, view):
            self._grid, self._grid_of = camera_grid(metres.shape, view), (metres.shape, view)
        down, across = self._grid
        return metres.take(down, axis=0).take(across, axis=1)


def _millimetres(metres: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Round, 0 where there is no depth, and where 16 bits have no room for it."""
    rounded = np.rint(np.nan_to_num(metres.astype(np.float64), nan=0.0) * 1000.0)
    return np.where(rounded > MM_MOST, 0, rounded).astype(np.uint16)
