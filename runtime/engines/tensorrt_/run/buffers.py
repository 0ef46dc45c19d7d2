"""Host and device memory of one tensor, allocated once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.contract.engine.build import TensorSpec


@dataclass
class Buffer:
    """One tensor's memory. ``host`` is pinned, so copies run beside the CPU; on Tegra the GPU reads it in place."""

    name: str
    host: npt.NDArray[Any]
    address: int
    """Device address that TensorRT reads or writes."""
    copies: bool
    """False when ``address`` is ``host`` itself, mapped: there is nothing to copy."""
    owner: Any
    """Keeps the device memory alive."""


def allocate(spec: TensorSpec, *, mapped: bool) -> Buffer:
    """Allocate pinned host memory and, unless ``mapped``, device memory for ``spec``. The context must be current."""
    import pycuda.driver as cuda

    dtype = np.dtype(spec.dtype)
    if mapped:
        host = cuda.pagelocked_zeros(spec.shape, dtype, mem_flags=cuda.host_alloc_flags.DEVICEMAP)
        return Buffer(spec.name, host, int(host.base.get_device_pointer()), copies=False, owner=host.base)
    host = cuda.pagelocked_zeros(spec.shape, dtype)
    device = cuda.mem_alloc(max(host.nbytes, 1))
    return Buffer(spec.name, host, int(device), copies=True, owner=device)
