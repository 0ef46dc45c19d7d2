"""Outputs with as many rows as are found (NonMaxSuppression in the graph): their size is known once they are there.

TensorRT asks an allocator for memory at every inference, and tells it the shape. The memory is there from the start, as
large as the output can get, so nothing is allocated for a frame.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.contract.engine.build import TensorSpec
from runtime.engines.errors import EngineError
from runtime.engines.tensorrt_.run.buffers import Buffer, allocate

_MOST_BYTES = 256 << 20
"""An output that could get larger is refused: a robot's memory is not reserved for what never comes."""


def is_found(spec: TensorSpec) -> bool:
    """Say whether the size of an output depends on the frame."""
    return -1 in spec.shape


class FoundOutput:
    """Memory of one such output, and what of it the last inference filled."""

    def __init__(self, spec: TensorSpec, context: Any, *, mapped: bool) -> None:
        """Reserve memory and have ``context`` use it. Raises EngineError where its largest size is not known, or is
        too large."""
        import tensorrt as trt

        self.dtype = np.dtype(spec.dtype)
        self.shape: tuple[int, ...] = tuple(0 if size < 0 else size for size in spec.shape)
        most = int(context.get_max_output_size(spec.name))
        if not 0 <= most <= _MOST_BYTES:
            said = "has no largest size" if most < 0 else f"can have {most} bytes"
            raise EngineError(
                "unsupported",
                f"output {spec.name!r}, whose rows are counted in the graph, {said}",
                "give NonMaxSuppression a smaller max_output_boxes_per_class, or export the model without it",
            )
        count = -(-max(most, 1) // self.dtype.itemsize)
        self.buffer: Buffer = allocate(TensorSpec(spec.name, (count,), spec.dtype), mapped=mapped)

        owner = self

        class Allocator(trt.IOutputAllocator):
            """TensorRT's view of it; versions differ in which of the first two they call."""

            def reallocate_output(self, name: str, memory: int, size: int, alignment: int) -> int:
                del name, memory, alignment
                return owner._address(size)

            def reallocate_output_async(self, name: str, memory: int, size: int, alignment: int, stream: int) -> int:
                del name, memory, alignment, stream
                return owner._address(size)

            def notify_shape(self, name: str, shape: Any) -> None:
                del name
                owner.shape = tuple(int(shape[index]) for index in range(len(shape)))

        self._allocator = Allocator()
        if not context.set_output_allocator(spec.name, self._allocator):
            raise EngineError(
                "internal", f"TensorRT does not take memory for output {spec.name!r}", "this is a defect: report it"
            )

    def _address(self, size: int) -> int:
        return self.buffer.address if size <= self.buffer.host.nbytes else 0  # 0: TensorRT says that it failed

    @property
    def count(self) -> int:
        """Elements that the last inference filled."""
        return int(np.prod(self.shape, dtype=np.int64))

    def view(self) -> npt.NDArray[Any]:
        """Return what the last inference filled; valid until the next one."""
        return self.buffer.host[: self.count].reshape(self.shape)
