"""What builds, releases and reports all say of a device and of times. Apart from `build`: an updater needs no more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class DeviceFacts:
    """What the engine key claims of the device, or what a device says it is. ``None`` means not applicable there."""

    platform: str
    """linux/arm64 or linux/amd64."""
    module: Optional[str] = None
    """Jetson module part number, ``p3767-0003``."""
    l4t: Optional[str] = None
    sm_count: Optional[int] = None
    cuda: Optional[str] = None
    tensorrt: Optional[str] = None
    """Full version, four parts where known."""


@dataclass(frozen=True)
class Percentiles:
    """Milliseconds over ``count`` samples."""

    p50: float
    p90: float
    p99: float
    mean: float
    count: int
