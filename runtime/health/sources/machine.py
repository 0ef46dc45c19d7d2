"""The machine, from procfs and sysfs. Whatever is missing or unreadable there is left out, never guessed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from runtime.contract.health import SystemHealth

MAX_ZONES = 32
"""Thermal zones read at most, so that the number of metrics is bounded."""


@dataclass(frozen=True)
class Machine:
    """Reads one machine. ``root`` is prefixed to /proc and /sys; free space is that of ``disk``."""

    root: Path = Path("/")
    disk: Path = Path("/")

    def sample(self) -> SystemHealth:
        """Read everything once, a millisecond or so."""
        memory = self._meminfo()
        return SystemHealth(
            temperatures_c=self._temperatures(),
            memory_total_bytes=memory.get("MemTotal"),
            memory_available_bytes=memory.get("MemAvailable"),
            disk_free_bytes=self._disk_free(),
            load_1m=self._load(),
        )

    def _temperatures(self) -> dict[str, float]:
        values: dict[str, float] = {}
        zones = sorted(self.root.glob("sys/class/thermal/thermal_zone*"), key=lambda path: (len(path.name), path.name))
        for zone in zones[:MAX_ZONES]:
            name, raw = _read(zone / "type"), _read(zone / "temp")
            # A zone of a powered-off engine answers EAGAIN or an absurd value on Jetson: it has no temperature now.
            if name and raw is not None and _is_integer(raw) and -60_000 < int(raw) < 200_000:
                values[name if name not in values else f"{name}-{zone.name}"] = int(raw) / 1000.0
        return values

    def _meminfo(self) -> dict[str, int]:
        values: dict[str, int] = {}
        for line in (_read(self.root / "proc/meminfo") or "").splitlines():
            name, _, rest = line.partition(":")
            words = rest.split()
            if len(words) == 2 and words[1] == "kB" and words[0].isdigit():
                values[name] = int(words[0]) * 1024
        return values

    def _load(self) -> float | None:
        words = (_read(self.root / "proc/loadavg") or "").split()
        try:
            return float(words[0])
        except (IndexError, ValueError):
            return None

    def _disk_free(self) -> int | None:
        try:
            stats = os.statvfs(self.disk)
        except OSError:
            return None
        return stats.f_bavail * stats.f_frsize


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _is_integer(text: str) -> bool:
    return text.lstrip("-").isdigit()
