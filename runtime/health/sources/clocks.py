"""Clocks and load of GPU, memory controller and CPU clusters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from runtime.health.sources.files import entries, read_int, read_text

DEVFREQ = Path("sys/class/devfreq")
GPU_NAMES = frozenset({"gpu", "ga10b", "gv11b"})
"""Device tree names of an integrated GPU."""
GPU_FOLDERS = (
    "sys/devices/platform/gpu.0",
    "sys/devices/gpu.0",
    "sys/devices/platform/bus@0/17000000.gpu",
    "sys/devices/platform/17000000.gpu",
)
"""Where the GPU is when devfreq does not show it (it may come late at boot)."""
EMC_DEVFREQ = "bwmgr"
EMC_DEBUG = Path("sys/kernel/debug/bpmp/debug/clk/emc/rate")
CPUFREQ = Path("sys/devices/system/cpu/cpufreq")
CPUS_ONLINE = Path("sys/devices/system/cpu/online")
MAX_CLUSTERS = 8
LOAD_FULL = 1000.0


@dataclass(frozen=True)
class Gpu:
    """An integrated GPU; paths that are None are not there."""

    load: Path | None = None
    """Per mille."""
    clock: Path | None = None
    """Folder with ``cur_freq`` and ``max_freq``, Hz."""

    def busy(self) -> float | None:
        """Return the share of time in which it was busy, 0 to 1."""
        raw = None if self.load is None else read_int(self.load)
        return None if raw is None else min(max(raw / LOAD_FULL, 0.0), 1.0)

    def hertz(self, name: str = "cur_freq") -> int | None:
        """Return its clock (``cur_freq``) or the one allowed (``max_freq``)."""
        return None if self.clock is None else read_int(self.clock / name)


def find_gpu(root: Path) -> Gpu:
    """Look for the GPU once: by devfreq, else where L4T 35, 36 and 39 are known to have it."""
    for folder in entries(root / DEVFREQ):
        device = folder / "device"
        name = read_text(device / "of_node" / "name") or folder.name.partition(".")[2]
        if name in GPU_NAMES:
            return Gpu(load=_existing(device / "load"), clock=folder)
    for place in GPU_FOLDERS:
        load = _existing(root / place / "load")
        if load is not None:
            return Gpu(load=load, clock=next(iter(entries(root / place / "devfreq")), None))
    return Gpu()


def emc_clock(root: Path) -> int | None:
    """Return the memory controller's clock in Hz: from devfreq where it is there, else from debugfs (root only)."""
    clock = read_int(root / DEVFREQ / EMC_DEVFREQ / "cur_freq")
    return read_int(root / EMC_DEBUG) if clock is None else clock


def find_clusters(root: Path) -> tuple[Path, ...]:
    """Return the CPU clusters' folders."""
    return tuple(entries(root / CPUFREQ, "policy")[:MAX_CLUSTERS])


def cluster_clocks(clusters: tuple[Path, ...], name: str = "scaling_cur_freq") -> dict[str, int]:
    """Return Hz by cluster; a cluster that is off has none."""
    kilohertz = {folder.name: read_int(folder / name) for folder in clusters}
    return {cluster: value * 1000 for cluster, value in kilohertz.items() if value is not None}


def cpus_online(root: Path) -> int | None:
    """Return how many CPUs run: ``0-3,6`` is five."""
    text = read_text(root / CPUS_ONLINE)
    try:
        spans = [[int(end) for end in part.split("-")] for part in (text or "").split(",")]
    except ValueError:
        return None
    return sum(span[-1] - span[0] + 1 for span in spans)


def _existing(path: Path) -> Path | None:
    return path if read_text(path) is not None else None
