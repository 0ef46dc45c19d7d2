"""What this machine is: module, L4T, SM count, CUDA, TensorRT, power mode; read from where each of them says so.

``root`` stands for ``/`` and can be a folder with the same files in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from runtime.contract.engine.build import DeviceFacts
from runtime.engines.device.device_facts import read_jetson
from runtime.engines.device.preflight import this_platform
from runtime.engines.errors import EngineError
from runtime.engines.tensorrt_.versions import full_version

ROOT = Path("/")


@dataclass(frozen=True)
class Gpu:
    """Facts of one CUDA device, asked of the driver without making a context."""

    name: str
    compute_capability: str
    """``8.7``"""
    sm_count: int
    integrated: bool
    """Shares the host's memory (Tegra)."""
    memory_bytes: int
    driver_cuda: str
    """Newest CUDA that the driver knows, ``12.2``."""


def find_gpu(index: int = 0) -> Gpu:
    """Return the facts of CUDA device ``index``. Raises EngineError ``unsupported`` when there is none."""
    import pycuda.driver as cuda

    try:
        cuda.init()
        device = cuda.Device(index)
        attribute = cuda.device_attribute
        number = cuda.get_driver_version()
        return Gpu(
            name=str(device.name()),
            compute_capability=".".join(map(str, device.compute_capability())),
            sm_count=int(device.get_attribute(attribute.MULTIPROCESSOR_COUNT)),
            integrated=bool(device.get_attribute(attribute.INTEGRATED)),
            memory_bytes=int(device.total_memory()),
            driver_cuda=f"{number // 1000}.{number % 1000 // 10}",
        )
    except cuda.Error as error:
        raise EngineError(
            "unsupported",
            f"there is no CUDA device {index} that can be used here: {error}",
            "start the container with the NVIDIA runtime (runtime: nvidia), on a machine with an NVIDIA GPU",
        ) from error


def device_facts(gpu: Gpu, module_version: str, root: Path = ROOT) -> DeviceFacts:
    """Return what the engine key claims of a device, as found here."""
    jetson = read_jetson(root)
    return DeviceFacts(
        platform=this_platform(),
        module=jetson.module,
        l4t=jetson.l4t,
        sm_count=gpu.sm_count,
        cuda=cuda_version(root) or gpu.driver_cuda,
        tensorrt=full_version(module_version, root),
    )


def cuda_version(root: Path = ROOT) -> str | None:
    """Return the toolkit's version (``12.6``) where its folder tells, else None."""
    try:
        text = (root / "usr/local/cuda/version.json").read_text("utf-8")
    except OSError:
        return None
    found = re.search(r'"cuda"\s*:\s*\{[^}]*"version"\s*:\s*"(\d+\.\d+)', text)
    return found[1] if found else None


@dataclass(frozen=True)
class Memory:
    """Bytes of the host that a build could use."""

    available: int
    swap_free: int
    total: int


def host_memory(root: Path = ROOT) -> Memory:
    """Return the host's memory. Raises EngineError ``internal`` where /proc/meminfo cannot be read."""
    try:
        text = (root / "proc/meminfo").read_text("ascii")
    except OSError as error:
        raise EngineError("internal", f"/proc/meminfo cannot be read: {error.strerror}", "mount /proc") from error
    found = {key: int(value) * 1024 for key, value in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
    return Memory(found.get("MemAvailable", 0), found.get("SwapFree", 0), found.get("MemTotal", 0))
