"""A camera's frame, read in place from the bytes that the middleware hands over.

Subscribing to serialized messages and viewing the pixels in them costs 8 µs; deserializing copies the frame once more.
Every ROS 2 middleware delivers plain CDR: a 4-byte header, then the fields, aligned from byte 4.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from runtime.contract.node.encodings import ENCODINGS, hint_for

if TYPE_CHECKING:
    import numpy.typing as npt

_U32 = {0: struct.Struct(">I"), 1: struct.Struct("<I")}
_STAMP = {0: struct.Struct(">iI"), 1: struct.Struct("<iI")}
_SIZE = {0: struct.Struct(">III"), 1: struct.Struct("<III")}
_DATA = {0: struct.Struct(">II"), 1: struct.Struct("<II")}


class FrameRefusedError(ValueError):
    """A message is not what this input can take. The message says what came and what is expected."""

    def __init__(self, message: str, kind: str = "garbled") -> None:
        """``kind`` is the name that it is counted under: one word, of few."""
        super().__init__(message)
        self.kind = kind


class Stamp(NamedTuple):
    """The part of a frame's header that results carry on. A tuple, as all that is made per frame: that costs least."""

    sec: int
    nanosec: int
    frame_id: str
    arrived_s: float = 0.0
    """When the frame arrived: seconds of the steady clock, which no publisher, simulation or time service sets. 0: not
    known."""

    @property
    def nanoseconds(self) -> int:
        """Since the epoch of the publisher's clock."""
        return self.sec * 1_000_000_000 + self.nanosec


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
    if len(message) < 16 or message[0] != 0 or message[1] not in _U32:
        raise FrameRefusedError(f"not a plain CDR message: it starts with {message[:4].hex() or 'nothing'}")
    order = message[1]
    u32 = _U32[order].unpack_from
    try:
        sec, nanosec = _STAMP[order].unpack_from(message, 4)
        length = u32(message, 12)[0]
        frame_id = message[16 : 16 + max(0, length - 1)].decode("utf-8", "replace")
        at = _aligned(16 + length)
        height, width, length = _SIZE[order].unpack_from(message, at)
        encoding = message[at + 12 : at + 12 + max(0, length - 1)].decode("ascii", "replace")
        big = message[at + 12 + length] != 0
        at = _aligned(at + 12 + length + 1)
        step, size = _DATA[order].unpack_from(message, at)
        data = np.frombuffer(message, np.uint8, size, at + 8)
    except (struct.error, ValueError, IndexError) as error:
        raise FrameRefusedError(f"an image message of {len(message)} bytes is cut short or garbled") from error
    return Frame(Stamp(sec, nanosec, frame_id), height, width, encoding, step, data, at + 8, big)


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
        self._stamp = _STAMP[message[1]].unpack_from
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


def _aligned(offset: int) -> int:
    return offset + (-(offset - 4) & 3)
