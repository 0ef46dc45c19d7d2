"""A camera's frame, read in place from the bytes that the middleware hands over.

Subscribing to serialized messages and viewing the pixels in them costs 8 µs; deserializing copies the frame once more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from runtime.contract.node.encodings import ENCODINGS, hint_for
from runtime.executor.inputs.cdr import Fields, FrameRefusedError, Stamp, stamp_reader

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Expected", "Frame", "FrameRefusedError", "KnownHeader", "Stamp", "parse_image", "pixels"]


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
    big_endian: bool = False
    """Of values of more than one byte."""


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
    big_endian = fields.byte() != 0
    (step,) = fields.unpack("I")
    data = fields.sequence("u1")
    return Frame(stamp, height, width, encoding, step, data, fields.at - data.size, big_endian)


def pixels(frame: Frame, expected: Expected) -> npt.NDArray[np.uint8]:
    """Return the frame's bytes as (rows, width, bytes a pixel), a view. Raises FrameRefusedError for a misfit."""
    encoding = ENCODINGS[expected.encoding]
    if frame.encoding != encoding.name and frame.encoding not in encoding.same:
        hint = hint_for(frame.encoding, encoding.name)
        raise FrameRefusedError(f"encoding {frame.encoding!r}, expected {encoding.name!r}: {hint}", "encoding")
    if (frame.height, frame.width) != (expected.height, expected.width):
        found = f"{frame.width}x{frame.height} pixels"
        raise FrameRefusedError(f"{found}, expected {expected.width}x{expected.height}", "size")
    row, rows = frame.width * encoding.pixel_bytes, encoding.rows(frame.height)
    if frame.step < row:
        row_text = f"a row of {frame.width} {frame.encoding} pixels is {row} bytes"
        raise FrameRefusedError(f"step {frame.step}, but {row_text}", "size")
    if frame.data.size < frame.step * rows:
        raise FrameRefusedError(f"{frame.data.size} bytes of data, but step x height is {frame.step * rows}", "size")
    view = frame.data[: frame.step * rows].reshape(rows, frame.step)
    return view[:, :row].reshape(rows, frame.width, encoding.pixel_bytes)


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
