"""The CUDA primary context, current on the one thread that owns it for as long as an engine is loaded there."""

from __future__ import annotations

import atexit
import sys
import threading
from collections.abc import Iterable
from typing import Any

import numpy.typing as npt

from runtime.engines.errors import EngineError


def _references(objects: list[Any]) -> list[int]:
    return [sys.getrefcount(each) for each in objects]


_UNSEEN = _references([object()])[0]
"""References to what a list alone holds, as :func:`_references` counts them."""


class CudaThread:
    """Pushes the primary context of device 0 on its first user's thread and pops it after the last.

    pycuda aborts a process that ends with a context still pushed, so what is left is popped at exit.
    """

    def __init__(self) -> None:
        self._context: Any = None
        self._owner: int | None = None
        self._users = 0
        self._seen: list[npt.NDArray[Any]] = []

    def acquire(self) -> None:
        """Make the context current for one more user. Raises EngineError on any thread but the owner."""
        if self._users == 0:
            if self._context is None:
                import pycuda.driver as cuda

                cuda.init()
                # Retained until the process ends: memory that a caller still holds a view of can then be freed.
                self._context = cuda.Device(0).retain_primary_context()
            self._context.push()
            self._owner = threading.get_ident()
            atexit.register(self._at_exit)
        self.check()
        self._sweep()
        self._users += 1

    def free_unseen(self, arrays: Iterable[npt.NDArray[Any]]) -> None:
        """Free pinned memory as soon as nobody holds a view of it: now, or when an engine is next loaded or closed.

        A view may end on any thread, or after the last engine, and pycuda frees pinned memory only where the context
        is current: elsewhere it warns, and the memory is lost.
        """
        self.check()
        self._seen.extend(arrays)

    def _sweep(self) -> None:
        counts = _references(self._seen)
        self._seen = [array for array, count in zip(self._seen, counts, strict=True) if count > _UNSEEN]

    def check(self) -> None:
        """Raise EngineError ``internal`` on a thread that does not own CUDA here."""
        if self._owner != threading.get_ident():
            raise EngineError(
                "internal",
                "an engine was used by a thread that does not own CUDA here",
                "load, run and close engines of one process on one thread",
            )

    def release(self) -> None:
        """Give up one user's hold; the last one pops the context."""
        self.check()
        self._sweep()
        self._users -= 1
        if self._users == 0:
            atexit.unregister(self._at_exit)
            self._pop()

    def _pop(self) -> None:
        self._owner = None
        self._context.pop()

    def _at_exit(self) -> None:
        if self._owner == threading.get_ident():  # a worker thread took its context with it
            self._pop()


CUDA = CudaThread()
"""One per process: CUDA's current context is a fact of the process's threads, not of an engine."""
