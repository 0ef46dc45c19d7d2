"""Point clouds: named fields of every point, a fixed number of points."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from runtime.contract.node.inputs import PACKED_COLOURS
from runtime.contract.node.runtime_config import InputBinding
from runtime.executor.inputs.adapters.base import Taken, checked
from runtime.executor.inputs.cdr import Fields
from runtime.executor.inputs.frames import FrameRefusedError

_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
"""sensor_msgs/msg/PointField datatype → numpy's."""
_PARTS = ("b", "g", "r", "a")
"""Of a packed colour, from the least significant byte."""
_FOUR_BYTES = (5, 6, 7)
MAX_POINTS = 1 << 22
"""More than any lidar or depth camera gives in one message; bounds the memory that a message can make us take."""
MAX_FIELDS = 64


class _Points(NamedTuple):
    columns: tuple[npt.NDArray[Any], ...]
    """One view into the message for each chosen field, (height, width)."""
    points: int


class PointCloudAdapter:
    """sensor_msgs/msg/PointCloud2 → float32 (1, points, fields), or (1, fields, points) with ``fields_first``.

    Points are read row by row, organised or not, in the cloud's own byte order. Those with a value that is not finite
    in a chosen field are left out. Of more points than the tensor holds, ``too_many`` takes that many spread evenly
    over the cloud (``spread``), the ``first``, or refuses the cloud (``drop``). Free places become 0 (padding ``zero``)
    or the points again from the first (``repeat``).
    """

    def __init__(self, binding: InputBinding) -> None:
        """Raises OptionError."""
        options = checked(binding)
        self._fields: tuple[str, ...] = options["fields"]
        self._points_first = options["layout"] == "points_first"
        self._too_many, self._repeat = options["too_many"], options["padding"] == "repeat"
        self._capacity = binding.shape[1 if self._points_first else 2]
        self._order = np.arange(self._capacity, dtype=np.intp)
        self._chosen = np.zeros(self._capacity, np.intp)
        self._values = np.zeros(self._capacity, np.float32)
        self._columns = np.zeros((len(self._fields), 0), np.float32)
        self._spare = np.zeros(0, np.float32)
        self._good = self._one = np.zeros(0, np.bool_)
        self._make_room(self._capacity)

    def take(self, message: bytes) -> Taken:
        """Find the chosen fields. Raises FrameRefusedError."""
        fields = Fields(message)
        stamp = fields.header()
        height, width = fields.unpack("II")
        layout = _layout(fields)
        order = ">" if fields.byte() else "<"
        point_step, row_step = fields.unpack("II")
        data = fields.sequence("u1")
        count = height * width
        if count > MAX_POINTS:
            raise FrameRefusedError(f"{width}x{height} points, at most {MAX_POINTS} are taken", "size")
        if self._too_many == "drop" and count > self._capacity:
            raise FrameRefusedError(f"{count} points, at most {self._capacity} are expected", "size")
        if height == 1 and row_step == 0:  # there is no second row, and some drivers leave it out
            row_step = width * point_step
        if count and (row_step < width * point_step or data.size < (height - 1) * row_step + width * point_step):
            raise FrameRefusedError(
                f"{data.size} bytes with row_step {row_step} do not hold {height} rows of {width} points of "
                f"{point_step} bytes",
                "size",
            )
        views = tuple(
            np.ndarray((height, width), order + kind, data, at, (row_step, point_step))
            for at, kind in (_found(layout, name, point_step, order) for name in self._fields)
        ) if count else ()  # fmt: skip
        return Taken(stamp, _Points(views, count))

    def fill(self, data: _Points, tensor: npt.NDArray[Any]) -> None:
        """Copy the chosen fields of the chosen points."""
        self._make_room(data.points)
        good = self._read(data)
        target = tensor[0].T if self._points_first else tensor[0]  # (fields, points)
        picked = self._pick(good)
        for column, place in zip(self._columns, target, strict=True):
            np.take(column, picked, out=self._values[: picked.size], mode="clip")
            np.copyto(place[: picked.size], self._values[: picked.size])
        target[:, picked.size :] = 0.0

    def _read(self, data: _Points) -> int:
        """Copy the chosen fields into columns without what is not finite; return how many points are left."""
        count = data.points
        if not count:
            return 0
        good, one = self._good[:count], self._one[:count]
        good[:] = True
        for view, column in zip(data.columns, self._columns, strict=True):
            with np.errstate(over="ignore"):  # a double too large for float32 becomes infinite, and is left out
                np.copyto(column[:count].reshape(view.shape), view, casting="unsafe")
            np.logical_and(good, np.isfinite(column[:count], out=one), out=good)
        left = int(np.count_nonzero(good))
        if left < count:
            for column in self._columns:
                np.compress(good, column[:count], out=self._spare[:left])
                column[:left] = self._spare[:left]
        return left

    def _pick(self, count: int) -> npt.NDArray[np.intp]:
        """Return which of ``count`` points go into the tensor."""
        room = self._capacity
        if count > room and self._too_many == "spread":
            np.multiply(self._order, count, out=self._chosen)
            return np.floor_divide(self._chosen, room, out=self._chosen)
        if 0 < count < room and self._repeat:
            return np.remainder(self._order, count, out=self._chosen)
        return self._order[: min(count, room)]

    def _make_room(self, count: int) -> None:
        """Have memory for so many points: grows with the largest cloud seen, and stays."""
        if self._good.size >= count:
            return
        self._columns = np.zeros((len(self._fields), count), np.float32)
        self._spare = np.zeros(count, np.float32)
        self._good, self._one = np.zeros(count, np.bool_), np.zeros(count, np.bool_)


def _layout(fields: Fields) -> dict[str, tuple[int, int, int]]:
    """Read the cloud's fields: name → (offset, datatype, count)."""
    (length,) = fields.unpack("I")
    if length > MAX_FIELDS:
        raise FrameRefusedError(f"{length} fields, at most {MAX_FIELDS} are taken", "fields")
    layout = {}
    for _ in range(length):
        name = fields.text()
        (offset,) = fields.unpack("I")
        kind = fields.byte()
        layout[name] = (offset, kind, fields.unpack("I")[0])
    return layout


def _found(layout: dict[str, tuple[int, int, int]], name: str, point_step: int, order: str) -> tuple[int, str]:
    """Return offset and type of a field, or of a part of a packed colour."""
    if name not in layout:
        if name in _PARTS and (part := _part(layout, name, point_step, order)) is not None:
            return part, "u1"
        raise FrameRefusedError(f"no field {name!r}: the cloud has {', '.join(layout) or 'none'}", "fields")
    at, kind, count = layout[name]
    if kind not in _TYPES or count != 1 or at + int(_TYPES[kind][1]) > point_step:
        raise FrameRefusedError(
            f"field {name!r} is {count} of datatype {kind} at {at} in points of {point_step} bytes", "fields"
        )
    return at, _TYPES[kind]


def _part(layout: dict[str, tuple[int, int, int]], name: str, point_step: int, order: str) -> int | None:
    """Return where the byte of a packed colour's part is: the colour is the number ``a << 24 | r << 16 | g << 8 | b``
    of the cloud's byte order. None: the cloud has no packed colour with that part."""
    for packed in PACKED_COLOURS:
        at, kind, count = layout.get(packed, (0, 0, 0))
        if kind in _FOUR_BYTES and count == 1 and at + 4 <= point_step and name in packed:
            place = _PARTS.index(name)
            return at + (place if order == "<" else 3 - place)
    return None
