"""A camera's frame, read in place from the bytes that the middleware hands over.

Subscribing to serialized messages and viewing the pixels in them costs 8 µs; deserializing copies the frame once more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from runtime.executor.inputs.cdr import Fields, FrameRefusedError, Stamp, stamp_reader

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["CHANNELS", "Expected", "Frame", "FrameRefusedError", "KnownHeader", "Stamp", "parse_image", "pixels"]

CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1, "8UC1": 1, "8UC3": 3}


class Frame(NamedTuple):
    """One image, its bytes still inside the message they came in."""

    stamp: Stamp
    height: int
    width: int
    encoding: str
    step: int
    """Bytes from one row to the next."""
    data: npt.NDArray[np.uint8]
    """One-dimensional view of the message's bytes."""
    offset: int
    """Where they begin in the message."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a model's input takes."""

    encoding: str
    height: int
    width: int


def parse_image(message: bytes) -> Frame:
    """View a serialized sensor_msgs/msg/Image. Raises FrameRefusedError when it is cut short or not plain CDR."""
    fields = Fields(message)
    stamp = fields.header()
    height, width = fields.unpack("II")
    encoding = fields.text()
    fields.byte()  # is_bigendian, which 8-bit encodings do not need
    (step,) = fields.unpack("I")
    data = fields.sequence("u1")
    return Frame(stamp, height, width, encoding, step, data, fields.at - data.size)


def pixels(frame: Frame, expected: Expected) -> npt.NDArray[np.uint8]:
    """Return the frame as (height, width, channels), a view. Raises FrameRefusedError when it does not fit."""
    if frame.encoding != expected.encoding:
        raise FrameRefusedError(f"encoding {frame.encoding!r}, expected {expected.encoding!r}", "encoding")
    if (frame.height, frame.width) != (expected.height, expected.width):
        found = f"{frame.width}x{frame.height} pixels"
        raise FrameRefusedError(f"{found}, expected {expected.width}x{expected.height}", "size")
    channels = CHANNELS[expected.encoding]
    row = frame.width * channels
    if frame.step < row:
        row_text = f"a row of {frame.width} {frame.encoding} pixels is {row} bytes"
        raise FrameRefusedError(f"step {frame.step}, but {row_text}", "size")
    if frame.data.size < frame.step * frame.height:
        raise FrameRefusedError(
            f"{frame.data.size} bytes of data, but step x height is {frame.step * frame.height}", "size"
        )
    rows = frame.data[: frame.step * frame.height].reshape(frame.height, frame.step)
    return rows[:, :row].reshape(frame.height, frame.width, channels)


class KnownHeader:
    """The header of a camera's last good frame. The next one differs in its stamp alone, and needs no parsing then."""

    __slots__ = ("_begin", "_end", "_frame_id", "_layout", "_rest", "_stamp")

    def __init__(self, message: bytes, frame: Frame, view: npt.NDArray[np.uint8]) -> None:
        """``view``: the pixels of ``frame``, as :func:`pixels` returns them."""
        self._begin, self._rest = message[:4], message[12 : frame.offset]
        self._stamp = stamp_reader(message)
        self._frame_id = frame.stamp.frame_id
        self._end = frame.offset + frame.data.size
        self._layout = (view.shape, np.uint8, frame.offset, view.strides)

    def view(self, message: bytes) -> tuple[Stamp, npt.NDArray[np.uint8]] | None:
        """Return stamp and pixels of a message with this header, or None: then it must be parsed."""
        shape, dtype, offset, strides = self._layout
        if message[12:offset] != self._rest or message[:4] != self._begin or len(message) < self._end:
            return None
        sec, nanosec = self._stamp(message, 4)
        return Stamp(sec, nanosec, self._frame_id), np.ndarray(shape, dtype, message, offset, strides)
