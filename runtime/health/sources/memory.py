"""Memory, swap and room on disk."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from runtime.contract.node.health import Space
from runtime.health.sources.files import read_text

MEMINFO = Path("proc/meminfo")
GPU_HELD = "NvMapMemUsed"
"""What nvmap, the GPU's allocator, holds. NVIDIA's kernels of L4T 35 and 36 add the line; later ones do not."""


def meminfo(root: Path) -> dict[str, int]:
    """Return /proc/meminfo in bytes by name."""
    values: dict[str, int] = {}
    for line in (read_text(root / MEMINFO) or "").splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if len(words) == 2 and words[1] == "kB" and words[0].isdigit():
            values[name] = int(words[0]) * 1024
    return values


def load_1m(root: Path) -> float | None:
    """Return the load average over one minute."""
    words = (read_text(root / "proc/loadavg") or "").split()
    try:
        return float(words[0])
    except (IndexError, ValueError):
        return None


def volumes(places: Mapping[str, Path]) -> dict[str, Space]:
    """Return the room on every volume; of names that lie on one volume the first stands for all."""
    found: dict[str, Space] = {}
    seen: set[int] = set()
    for name, path in places.items():
        try:
            device, stats = path.stat().st_dev, os.statvfs(path)
        except OSError:
            continue
        if device not in seen:
            seen.add(device)
            found[name] = Space(stats.f_blocks * stats.f_frsize, stats.f_bavail * stats.f_frsize)
    return found
