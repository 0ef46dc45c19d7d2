"""The part of pycuda.driver that the backend uses. Memory is real, and copies check that it is alive."""

from __future__ import annotations

import ctypes
import enum
import threading
import time

import numpy as np

STACK: dict[int, list[Context]] = {}
"""Contexts that are current, by thread."""


class Error(Exception):
    pass


class device_attribute(enum.Enum):  # noqa: N801
    MULTIPROCESSOR_COUNT = 8
    INTEGRATED = 0


class host_alloc_flags:  # noqa: N801
    DEVICEMAP = 2


def init() -> None:
    pass


def get_driver_version() -> int:
    return 12020


def _require_context() -> None:
    if not STACK.get(threading.get_ident()):
        raise Error("invalid device context")


class Context:
    def push(self) -> None:
        STACK.setdefault(threading.get_ident(), []).append(self)

    def pop(self) -> None:
        STACK[threading.get_ident()].pop()


class Device:
    def __init__(self, index: int) -> None:
        if index != 0:
            raise Error("invalid device ordinal")

    @staticmethod
    def count() -> int:
        return 1

    def name(self) -> str:
        return "Fake GPU"

    def compute_capability(self) -> tuple[int, int]:
        return (8, 7)

    def total_memory(self) -> int:
        return 8 << 30

    def get_attribute(self, what: device_attribute) -> int:
        return what.value

    def retain_primary_context(self) -> Context:
        return Context()


class DeviceAllocation:
    def __init__(self, size: int) -> None:
        self._memory = np.zeros(size, np.uint8)

    def __int__(self) -> int:
        return int(self._memory.ctypes.data)


class Stream:
    handle = 77

    def __init__(self) -> None:
        _require_context()

    def synchronize(self) -> None:
        _require_context()


class Event:
    def record(self, stream: Stream) -> None:
        self.at = time.perf_counter()

    def synchronize(self) -> None:
        pass

    def time_since(self, other: Event) -> float:
        return (self.at - other.at) * 1e3


def mem_alloc(size: int) -> DeviceAllocation:
    _require_context()
    return DeviceAllocation(size)


class PagelockedHostAllocation:
    """Pinned memory. Where no context is current, the real one cannot be freed: it warns, and the memory is lost."""

    there = 0
    lost = 0

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self._memory = np.zeros(shape, dtype)
        self.__array_interface__ = self._memory.__array_interface__
        PagelockedHostAllocation.there += 1

    def __del__(self) -> None:
        PagelockedHostAllocation.there -= 1
        if not STACK.get(threading.get_ident()):
            PagelockedHostAllocation.lost += 1


def pagelocked_zeros(shape: tuple[int, ...], dtype: np.dtype, mem_flags: int = 0) -> np.ndarray:
    _require_context()
    return np.asarray(PagelockedHostAllocation(shape, dtype))


def memcpy_htod_async(dest: int, src: np.ndarray, stream: Stream | None = None) -> None:
    _require_context()
    ctypes.memmove(int(dest), src.ctypes.data, src.nbytes)


def memcpy_dtoh_async(dest: np.ndarray, src: int, stream: Stream | None = None) -> None:
    _require_context()
    ctypes.memmove(dest.ctypes.data, int(src), dest.nbytes)


def memcpy_htod(dest: DeviceAllocation, src: np.ndarray) -> None:
    memcpy_htod_async(int(dest), src)
