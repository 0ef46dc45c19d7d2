"""int8 ranges by TensorRT's own entropy calibrator: the way out where a Q/DQ graph does not build (up to 10.x)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.engines.backend import Progress
from runtime.engines.errors import EngineError
from runtime.engines.tensorrt_.build.timing_cache import CacheFiles

if TYPE_CHECKING:
    import tensorrt as trt

    from runtime.engines.graph.quantize import Frames


class CalibrationFeed:
    """Hands out frames one by one and keeps the cache. The part that needs neither TensorRT nor CUDA."""

    def __init__(self, frames: Frames, files: CacheFiles | None, key: str, progress: Progress) -> None:
        self._frames = frames
        self._files = files
        self._key = key
        self._progress = progress
        self._next = 0
        self.cached = False
        """A cache was there, and was used instead of the frames."""

    def next_frame(self) -> dict[str, Any] | None:
        """Return the next frame (engine input name → array, batch 1), None after the last. Raises EngineError."""
        if self._next >= len(self._frames):
            return None
        frame = self._frames[self._next]
        self._next += 1
        if self._next % 50 == 0 or self._next == len(self._frames):
            self._progress(f"calibrating: {self._next} of {len(self._frames)} frames")
        return frame

    def read_cache(self) -> bytes | None:
        """Return the calibration of an earlier build of the same graph, data and device, or None."""
        content = self._files.read(self._key) if self._files is not None else b""
        self.cached = bool(content)
        return content or None

    def write_cache(self, content: bytes) -> None:
        """Keep a calibration for the next build."""
        if self._files is not None:
            self._files.write(self._key, content)


def make_calibrator(feed: CalibrationFeed) -> trt.IInt8EntropyCalibrator2:
    """Return TensorRT's view of ``feed``; device buffers are made once. ``failure`` on it keeps what a frame raised."""
    import pycuda.driver as cuda
    import tensorrt as trt

    class Calibrator(trt.IInt8EntropyCalibrator2):
        def __init__(self) -> None:
            trt.IInt8EntropyCalibrator2.__init__(self)
            self.failure: EngineError | None = None
            self._buffers: dict[str, Any] = {}

        def get_batch_size(self) -> int:
            return 1

        def get_batch(self, names: list[str]) -> list[int]:
            try:
                frame = feed.next_frame()
            except EngineError as error:  # must not pass through TensorRT's C++
                self.failure = error
                return []
            return [] if frame is None else [self._upload(name, frame[name]) for name in names]

        def _upload(self, name: str, array: Any) -> int:
            content = np.ascontiguousarray(array)
            if name not in self._buffers:
                self._buffers[name] = cuda.mem_alloc(content.nbytes)
            cuda.memcpy_htod(self._buffers[name], content)
            return int(self._buffers[name])

        def read_calibration_cache(self) -> Any:
            return feed.read_cache()

        def write_calibration_cache(self, cache: Any) -> None:
            feed.write_cache(bytes(cache))

    return Calibrator()
