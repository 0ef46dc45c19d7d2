"""Arrays of numbers, and single ones, into tensors of any element type: what a type cannot hold is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.contract.node.inputs import ARRAYS, SINGLES, size_of
from runtime.contract.node.runtime_config import InputBinding
from runtime.executor.inputs.adapters.base import Taken, checked
from runtime.executor.inputs.cdr import Fields
from runtime.executor.inputs.frames import FrameRefusedError

MOST_DIMENSIONS = 4096
"""Of one message: more is garbled."""

Array = npt.NDArray[Any]


class ArrayAdapter:
    """A MultiArray of std_msgs → as many values as the tensor has, in its element type.

    It has no stamp. Its layout is not looked at, but for ``data_offset``, which must be 0.
    """

    def __init__(self, binding: InputBinding) -> None:
        """Raises OptionError."""
        checked(binding)
        self._size = size_of(binding.shape)
        self._form = ARRAYS[binding.type]
        self._dtype = np.dtype(binding.dtype)

    def take(self, message: bytes) -> Taken:
        """Read the numbers. Raises FrameRefusedError."""
        fields = Fields(message)
        (dimensions,) = fields.unpack("I")
        if dimensions > MOST_DIMENSIONS:
            raise fields.short()
        for _ in range(dimensions):
            fields.text()
            fields.unpack("II")
        (offset,) = fields.unpack("I")
        values = fields.sequence(self._form)
        if offset or values.size != self._size:
            raise FrameRefusedError(
                f"{values.size} values from data_offset {offset} on, expected {self._size} from 0 on", "size"
            )
        return Taken(None, converted(values, self._dtype))

    def fill(self, data: Array, tensor: Array) -> None:
        """Copy the numbers."""
        _fill(data, tensor)


class SingleAdapter:
    """A message of one number or truth value of std_msgs → a tensor of one value. It has no stamp."""

    def __init__(self, binding: InputBinding) -> None:
        """Raises OptionError."""
        checked(binding)
        self._form = SINGLES[binding.type]
        self._dtype = np.dtype(binding.dtype)

    def take(self, message: bytes) -> Taken:
        """Read the number. Raises FrameRefusedError."""
        return Taken(None, converted(Fields(message).array(self._form, 1), self._dtype))

    def fill(self, data: Array, tensor: Array) -> None:
        """Copy the number."""
        _fill(data, tensor)


def _fill(data: Array, tensor: Array) -> None:
    """Copy numbers into the engine's tensor, which may be narrower: TensorRT takes int32 where the model has int64."""
    if tensor.dtype != data.dtype:
        data = converted(data, tensor.dtype)
    np.copyto(tensor.reshape(-1), data, casting="no")


def converted(values: Array, dtype: np.dtype[Any]) -> Array:
    """Return ``values`` in the tensor's type. Raises FrameRefusedError for one that it cannot hold.

    Of floats it takes what is finite in it, rounded; of whole numbers the same number, nothing else.
    """
    if values.dtype.kind == "f":
        fits = np.abs(values) <= np.finfo(dtype).max  # False for NaN
        if not fits.all():
            raise FrameRefusedError(f"value {int(np.argmin(fits))} is not a finite {dtype}", "not_finite")
        return values.astype(dtype)
    with np.errstate(over="ignore"):
        result = values.astype(dtype)
    same = result.astype(values.dtype) == values
    if dtype.kind in "iu":
        bounds = np.iinfo(dtype)
        same &= (values >= bounds.min) & (values <= bounds.max)
    if not same.all():
        at = int(np.argmin(same))
        raise FrameRefusedError(f"value {at} is {values[at]}, which {dtype} cannot hold", "limits")
    return result
