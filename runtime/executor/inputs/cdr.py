"""Fields out of serialized messages: plain CDR, a 4-byte header, then the fields, aligned from byte 4."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

_ORDERS = {0: ">", 1: "<"}
_STRUCTS = {
    order: {form: struct.Struct(order + form) for form in ("I", "iI", "II", "7f")} for order in _ORDERS.values()
}


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


class Fields:
    """A position in a serialized message that moves over its fields.

    Everything raises FrameRefusedError when the message is cut short or garbled.
    """

    __slots__ = ("_structs", "at", "message", "order")

    def __init__(self, message: bytes) -> None:
        """Check that ``message`` is plain CDR."""
        if len(message) < 4 or message[0] != 0 or message[1] not in _ORDERS:
            raise FrameRefusedError(f"not a plain CDR message: it starts with {message[:4].hex() or 'nothing'}")
        self.message = message
        self.order = _ORDERS[message[1]]
        """``<`` or ``>``, as in numpy's and struct's formats."""
        self._structs = _STRUCTS[self.order]
        self.at = 4

    def unpack(self, form: str) -> tuple[Any, ...]:
        """Read 4-byte values: one of the formats ``I``, ``iI``, ``II``, ``7f``."""
        self.at += -(self.at - 4) & 3
        packed = self._structs[form]
        try:
            values = packed.unpack_from(self.message, self.at)
        except struct.error as error:
            raise self.short() from error
        self.at += packed.size
        return values

    def byte(self) -> int:
        """Read one byte."""
        if self.at >= len(self.message):
            raise self.short()
        self.at += 1
        return self.message[self.at - 1]

    def text(self) -> str:
        """Read a string."""
        (length,) = self.unpack("I")
        if length > len(self.message) - self.at:
            raise self.short()
        self.at += length
        return self.message[self.at - length : self.at - 1].decode("utf-8", "replace") if length else ""

    def header(self) -> Stamp:
        """Read a std_msgs/Header."""
        sec, nanosec = self.unpack("iI")
        return Stamp(sec, nanosec, self.text())

    def array(self, dtype: str, count: int) -> npt.NDArray[Any]:
        """View ``count`` values of ``f4``, ``f8`` or ``u1`` in place, in the message's byte order."""
        if not count:  # padding comes with the first value
            return _EMPTY
        size = int(dtype[1])
        self.at += -(self.at - 4) & (size - 1)
        if count * size > len(self.message) - self.at:
            raise self.short()
        self.at += count * size
        return np.frombuffer(self.message, self.order + dtype, count, self.at - count * size)

    def sequence(self, dtype: str) -> npt.NDArray[Any]:
        """View a sequence of numbers in place."""
        return self.array(dtype, self.unpack("I")[0])

    def short(self) -> FrameRefusedError:
        """What to raise for a message that ends too early."""
        return FrameRefusedError(f"a message of {len(self.message)} bytes is cut short or garbled")


def stamp_reader(message: bytes) -> Callable[[bytes, int], tuple[Any, ...]]:
    """Return what reads seconds and nanoseconds of a header's stamp at an offset, in the byte order of ``message``."""
    return _STRUCTS[_ORDERS[message[1]]]["iI"].unpack_from


_EMPTY: npt.NDArray[Any] = np.zeros(0, np.uint8)
