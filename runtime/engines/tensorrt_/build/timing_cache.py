"""What builds on this device have measured before, kept in files that several builders may share.

A timing belongs to one TensorRT, module, SM count and power mode: another clock gives other winners. Mismatch is never
ignored: TensorRT's own check of the cache's header stays on.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.contract.engine.build import DeviceFacts
from runtime.contract.engine.timing import MAX_TIMING_BYTES, TimingFacts
from runtime.engines.errors import EngineError
from runtime.engines.store import write_atomic

if TYPE_CHECKING:
    import tensorrt as trt

LOCK_DEADLINE_S = 60.0
_POLL_S = 0.05


def timing_facts(device: DeviceFacts, gpu_name: str, power_mode: str | None) -> TimingFacts:
    """Return what timings measured here belong to. Where there is no module number (a PC), the GPU's name stands."""
    return TimingFacts(device.tensorrt or "unknown", device.module or gpu_name, device.sm_count or 0, power_mode)


def given_caches(name: str, file: Path | None, folder: Path | None) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Return the caches that may fit what ``name`` (see ``timing_name``) stands for, and notes on those left out."""
    there = [file] if file is not None and file.is_file() else []
    if folder is not None and folder.is_dir():
        there += sorted(folder.glob(f"{name}.*.cache"))
    fitting = tuple(path for path in there if path.stat().st_size <= MAX_TIMING_BYTES)
    notes = tuple(
        f"timing cache {path.name} has more than {MAX_TIMING_BYTES >> 20} MiB, and was left out"
        for path in there
        if path not in fitting
    )
    return fitting, notes


def calibration_key(timing: str, graph_sha256: str, data_digest: str) -> str:
    """Return the name of a calibration cache: it belongs to a graph, its data, and what :func:`timing_key` names."""
    return _hexdigest(timing, graph_sha256, data_digest)


def _hexdigest(*parts: object) -> str:
    return hashlib.sha256("\0".join(str(part) for part in parts).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class CacheFiles:
    """Caches of one kind in a folder."""

    folder: Path
    kind: str
    """``timing`` or ``calibration``."""

    def path(self, key: str) -> Path:
        """Return where the cache called ``key`` is."""
        return self.folder / f"{self.kind}-{key}.cache"

    def read(self, key: str) -> bytes:
        """Return a cache's bytes; empty when there is none."""
        try:
            return self.path(key).read_bytes()  # replaced whole by writers, so a reader needs no lock
        except FileNotFoundError:
            return b""

    def write(self, key: str, content: bytes) -> None:
        """Replace a cache; a reader sees the old one or the new one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomic(self.path(key), content)

    @contextmanager
    def locked(self, key: str, deadline_s: float = LOCK_DEADLINE_S) -> Iterator[None]:
        """Hold the lock of one cache; it goes with the process, however that ends.

        Raises EngineError ``internal`` when another process holds it past the deadline.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = self.path(key).with_suffix(".lock")
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            _take(descriptor, lock, deadline_s)
            yield
        finally:
            os.close(descriptor)


def _take(descriptor: int, lock: Path, deadline_s: float) -> None:
    ends = time.monotonic() + deadline_s
    while not _locks(descriptor):
        if time.monotonic() >= ends:
            raise EngineError(
                "internal",
                f"{lock} was held by another process for {deadline_s:g} s",
                "wait for the other build, or stop it",
            )
        time.sleep(_POLL_S)


def _locks(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@dataclass(frozen=True)
class Taken:
    """What TensorRT took of the caches that it was offered."""

    bytes: int
    refused: int


def load_into(config: trt.IBuilderConfig, contents: Sequence[bytes]) -> Taken:
    """Give ``config`` one cache, made of all ``contents`` that TensorRT takes here, or an empty one.

    A cache of another device or TensorRT is refused by its header, one that is no cache by its form. The cache is set
    once: what is merged is merged into the one that ``config`` holds.
    """
    took: list[bytes] = []
    for content in contents:
        if content and (_merge(config, config.get_timing_cache(), content) if took else _set(config, content)):
            took.append(content)
    if not took:
        _set(config, b"")
    return Taken(sum(map(len, took)), len(contents) - len(took))


def _set(config: trt.IBuilderConfig, content: bytes) -> bool:
    cache: trt.ITimingCache | None = config.create_timing_cache(content)
    return cache is not None and bool(config.set_timing_cache(cache, ignore_mismatch=False))


def _merge(config: trt.IBuilderConfig, into: trt.ITimingCache, content: bytes) -> bool:
    more: trt.ITimingCache | None = config.create_timing_cache(content)
    return more is not None and bool(into.combine(more, ignore_mismatch=False))


def merge_back(config: trt.IBuilderConfig, files: CacheFiles, key: str) -> int:
    """Add what this build measured to the cache ``key``; return the cache's bytes. Another builder's part is kept."""
    cache: trt.ITimingCache | None = config.get_timing_cache()
    if cache is None:
        return 0
    with files.locked(key):
        there = files.read(key)
        if there:
            _merge(config, cache, there)
        content = bytes(cache.serialize())
        files.write(key, content)
    return len(content)
