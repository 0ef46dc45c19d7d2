"""One inference recorded as a CUDA graph and replayed with a single call, through the driver's own C interface.

pycuda has no graphs. The driver library has them everywhere (CUDA 11 and newer), so no other package is needed. An
option, never a default: it saves launch time only, and some engines cannot be recorded.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from runtime.engines.errors import EngineError

_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads' allocations do not end the recording


class CapturedGraph:
    """What ``record`` puts on a stream, ready to be launched again. The addresses it uses must stay the same."""

    def __init__(self, stream: int, record: Callable[[], None]) -> None:
        """Record. Raises EngineError ``unsupported`` where driver or engine cannot."""
        self._driver = _driver()
        self._stream = ctypes.c_void_p(stream)
        graph = ctypes.c_void_p()
        self._executable: ctypes.c_void_p | None = None
        self._call("cuStreamBeginCapture_v2", self._stream, ctypes.c_int(_THREAD_LOCAL))
        try:
            record()
        finally:
            # Also after a failure: a stream that stays in recording can do nothing else.
            ended = self._driver.cuStreamEndCapture(self._stream, ctypes.byref(graph))
        if ended != 0 or not graph.value:
            raise _cannot("cuStreamEndCapture", ended)
        executable = ctypes.c_void_p()
        try:
            self._call("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, ctypes.c_ulonglong(0))
        finally:
            self._driver.cuGraphDestroy(graph)
        self._executable = executable

    def launch(self) -> None:
        """Put the recorded work on the stream. Raises EngineError."""
        self._call("cuGraphLaunch", self._executable, self._stream)

    def close(self) -> None:
        """Free the graph. Closing twice is fine."""
        if self._executable is not None:
            self._driver.cuGraphExecDestroy(self._executable)
            self._executable = None

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._driver, name)(*arguments)
        if code != 0:
            raise _cannot(name, code)


def _driver() -> Any:
    try:
        library = ctypes.CDLL("libcuda.so.1")
        library.cuGraphInstantiateWithFlags  # noqa: B018  (looked up here, so that an old driver is a clear error)
    except (OSError, AttributeError) as error:
        raise EngineError(
            "unsupported", f"this CUDA driver has no graphs: {error}", "leave cuda_graph off, or update the driver"
        ) from error
    return library


def _cannot(name: str, code: int) -> EngineError:
    return EngineError(
        "unsupported", f"the engine cannot be recorded as a CUDA graph ({name}: error {code})", "leave cuda_graph off"
    )
