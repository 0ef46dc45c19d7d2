"""The machine, from procfs and sysfs. Whatever is missing or unreadable there is left out, never guessed.

Three generations are known: L4T 35, 36 and 39 on Jetson Orin; a laptop or a CI machine offers less. No NVML (its stub
on Jetson answers NotSupported), no jtop, no tegrastats (its words change from release to release).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from runtime.contract.node.health import SystemHealth
from runtime.health.sources import clocks, hwmon, memory, thermal

VOLUMES: Mapping[str, Path] = {"/": Path("/"), "/dev/shm": Path("/dev/shm")}  # noqa: S108 - where frames travel
LOOK_AGAIN_S = 60.0
"""Between two searches for devices: a GPU may appear late at boot."""
RATE_WINDOW_S = 60.0
MAX_SAMPLES = 64
ROOT_VOLUME = "/"


class Machine:
    """Reads one machine. ``root`` is prefixed to /proc and /sys; ``volumes`` are names and where to look."""

    def __init__(self, root: Path = Path("/"), volumes: Mapping[str, Path] = VOLUMES) -> None:
        self._root, self._volumes = root, volumes
        self._looked: float | None = None
        self._rates = EventRates()

    def sample(self, now: float | None = None) -> SystemHealth:
        """Read everything once: a millisecond or so, longer where a sensor hangs on I²C. ``now``: monotonic seconds."""
        now = time.monotonic() if now is None else now
        if self._looked is None or now - self._looked >= LOOK_AGAIN_S:
            self._look()
            self._looked = now
        info = memory.meminfo(self._root)
        zones, zones_left_out = thermal.temperatures(self._root)
        throttled_by = thermal.throttled_by(self._alerts)
        watts = {rail.label: rail.watts() for rail in self._hwmon.rails}
        events = self._hwmon.over_current_events()
        disks = memory.volumes(self._volumes)
        return SystemHealth(
            temperatures_c=zones,
            memory_total_bytes=info.get("MemTotal"),
            memory_available_bytes=info.get("MemAvailable"),
            disk_free_bytes=disks[ROOT_VOLUME].free_bytes if ROOT_VOLUME in disks else None,
            load_1m=memory.load_1m(self._root),
            power_w=watts.get(hwmon.TOTAL),
            throttling=bool(throttled_by) if self._alerts else None,
            throttled_by=throttled_by,
            power_rails_w={label: value for label, value in watts.items() if value is not None},
            gpu_load=self._gpu.busy(),
            gpu_clock_hz=self._gpu.hertz(),
            gpu_clock_max_hz=self._gpu.hertz("max_freq"),
            emc_clock_hz=clocks.emc_clock(self._root),
            cpu_clocks_hz=clocks.cluster_clocks(self._clusters),
            cpu_clocks_max_hz=clocks.cluster_clocks(self._clusters, "scaling_max_freq"),
            cpus_online=clocks.cpus_online(self._root),
            overcurrent_events=events,
            overcurrent_per_s=self._rates.per_second(events, now),
            overcurrent_throttles=self._hwmon.over_current_throttles(),
            gpu_memory_bytes=info.get(memory.GPU_HELD),
            swap_total_bytes=info.get("SwapTotal"),
            swap_free_bytes=info.get("SwapFree"),
            disks=disks,
            fan_duty=self._hwmon.duty(),
            fan_rpm=self._hwmon.rpm(),
            left_out=zones_left_out + self._hwmon.left_out,
        )

    def _look(self) -> None:
        self._hwmon = hwmon.find(self._root)
        self._gpu = clocks.find_gpu(self._root)
        self._clusters = clocks.find_clusters(self._root)
        self._alerts = thermal.throttle_alerts(self._root)


class EventRates:
    """Counters since boot → events per second over the last ``RATE_WINDOW_S``."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, Mapping[str, int]]] = deque(maxlen=MAX_SAMPLES)

    def per_second(self, events: Mapping[str, int], now: float) -> dict[str, float]:
        """Add a sample and return the rates; none before the second sample.

        A counter that went back (its driver was loaded again) counts from there, and never below 0.
        """
        while len(self._samples) > 1 and now - self._samples[1][0] >= RATE_WINDOW_S:
            self._samples.popleft()
        if any(events.get(name, 0) < count for name, count in (self._samples[-1][1] if self._samples else {}).items()):
            self._samples.clear()
        self._samples.append((now, dict(events)))
        since, first = self._samples[0]
        if now <= since:
            return {}
        return {name: (count - first.get(name, count)) / (now - since) for name, count in events.items()}
