"""Is there room for an engine next to those that are loaded? Asked before it is loaded, told with both numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from runtime.contract.engine.build import EngineIdentity, TensorSpec
from runtime.contract.node.runtime_config import ModelRuntime
from runtime.engines.errors import EngineError
from runtime.engines.store import read_identity
from runtime.executor.serving.candidates import CONFIGURED, SWAPPED, Candidate, Loader
from runtime.executor.serving.loading import LoadedEngine, engine_folder

FILE_FACTOR = 2
"""An engine takes about twice its file: the file's content as loaded, and what it works in. An estimate on the safe
side for ONNX Runtime; TensorRT's activations are not in the file, so a plan may take more."""
MIB = 1 << 20


class MemoryRefusedError(RuntimeError):
    """There is no room for another engine. The message has both numbers."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Where free memory is asked for, and how much must be left over."""

    free: Callable[[], int | None]
    """Bytes that can be taken now; None where nobody can say."""
    keep_free: int = 64 * MIB


def check_room(candidate: Candidate, memory: Memory) -> None:
    """Raise MemoryRefusedError when the candidate's engine does not fit next to all that is loaded; EngineError when
    its sidecar cannot be read."""
    free = memory.free()
    if free is None:
        return
    need = needed(read_identity(folder_of(candidate))) + memory.keep_free
    if need > free:
        name = f"{candidate.model.name} {candidate.model.precision}"
        raise MemoryRefusedError(
            f"no memory for another engine: {name} needs about {_mib(need)} MiB in addition to what is loaded, "
            f"{_mib(free)} MiB are free; free memory, or lower resources/keep_free in the manifest"
        )


def with_room(memory: Memory, loader: Loader) -> Loader:
    """Return ``loader``, asking for room before it loads."""

    def load(model: ModelRuntime, engines_dir: Path) -> LoadedEngine:
        try:
            check_room(Candidate(CONFIGURED, model, engines_dir), memory)
        except MemoryRefusedError as error:
            raise EngineError("memory", str(error), "") from error
        return loader(model, engines_dir)

    return load


def needed(identity: EngineIdentity) -> int:
    """Bytes that a loaded engine takes, about."""
    return identity.engine_bytes * FILE_FACTOR + sum(_bytes(spec) for spec in (*identity.inputs, *identity.outputs))


def folder_of(candidate: Candidate) -> Path:
    """The folder of the candidate's own engine."""
    return candidate.folder if candidate.source == SWAPPED else engine_folder(candidate.folder, candidate.model)


def available_memory(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Return what the kernel says can be taken without swapping, bytes; on a Jetson the GPU takes from the same.

    A container's own limit counts where it is nearer.
    """
    try:
        lines = meminfo.read_text("ascii").splitlines()
    except OSError:
        return None
    found = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
    left = [value for value in (found, _left_in_cgroup()) if value is not None]
    return min(left) if left else None


def _left_in_cgroup(folder: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes left under this container's memory limit (cgroup 2), or None without one."""
    try:
        limit = (folder / "memory.max").read_text("ascii").strip()
        used = int((folder / "memory.current").read_text("ascii"))
        cached = dict(line.split() for line in (folder / "memory.stat").read_text("ascii").splitlines())
    except (OSError, ValueError):
        return None
    if limit == "max":
        return None
    return max(0, int(limit) - used + int(cached.get("inactive_file", 0)))


def _bytes(spec: TensorSpec) -> int:
    """Sizes that depend on the frame (-1) count once: such outputs hold what was found in one frame."""
    return prod(abs(size) for size in spec.shape) * np.dtype(spec.dtype).itemsize


def _mib(count: int) -> int:
    return count // MIB
