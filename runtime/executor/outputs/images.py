"""Results that are pictures, as sensor_msgs/Image: masks, ids of instances, depth."""

from __future__ import annotations

import array
from typing import Any

import numpy as np
import numpy.typing as npt
from sensor_msgs.msg import Image

from runtime.decoding.decoders import Depth, Instances, Mask
from runtime.executor.inputs.frames import Stamp
from runtime.executor.outputs.filling import inside, stamped


class Picture:
    """One image message, filled again for every frame: an ndarray as data would take a thousand times longer."""

    def __init__(self, encoding: str) -> None:
        self._message = Image(encoding=encoding)
        self._pixels: npt.NDArray[Any] = np.zeros(0, np.uint8)

    def fill(self, stamp: Stamp, pixels: npt.NDArray[Any]) -> Image:
        """Copy pixels (rows, columns) into the message's own bytes."""
        height, width = pixels.shape
        if self._pixels.size != pixels.size or self._pixels.dtype != pixels.dtype:
            self._message.data = array.array("B", bytes(pixels.nbytes))
            self._pixels = inside(self._message.data, np.uint8).view(pixels.dtype)
        message = self._message
        message.height, message.width, message.step = height, width, width * pixels.itemsize
        np.copyto(self._pixels.reshape(height, width), pixels)
        stamped(message.header, stamp)
        return message


class MaskImage(Picture):
    """A class mask as mono8 image."""

    def __init__(self) -> None:
        super().__init__("mono8")

    def __call__(self, stamp: Stamp, result: Mask) -> Image:
        """Fill the message."""
        return self.fill(stamp, result.classes)


class IdImage(Picture):
    """Which object each pixel belongs to, as mono8 image: 0 for none, k for the detection whose ``id`` is k."""

    def __init__(self) -> None:
        super().__init__("mono8")

    def __call__(self, stamp: Stamp, result: Instances) -> Image:
        """Fill the message."""
        return self.fill(stamp, result.ids)


class DepthImage(Picture):
    """Depth as REP 118 says: 32FC1 in metres, NaN for none, or 16UC1 in millimetres, 0 for none."""

    def __init__(self) -> None:
        super().__init__("32FC1")

    def __call__(self, stamp: Stamp, result: Depth) -> Image:
        """Fill the message."""
        self._message.encoding = "16UC1" if result.values.dtype == np.uint16 else "32FC1"
        return self.fill(stamp, result.values)
