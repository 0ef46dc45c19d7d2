"""Thermal zones, and the cooling devices by which the kernel says that it slows clocks down."""

from __future__ import annotations

from pathlib import Path

from runtime.health.sources.files import entries, read_int, read_text

FOLDER = Path("sys/class/thermal")
MAX_ZONES = 32
ALERT = "-throttle-alert"
"""Ends the type of a cooling device that is bound to the trip point where clocks are lowered (99 °C on Orin): ``cpu-``,
``gpu-``, ``cv0-`` … ``hot-surface-alert`` (70 °C) slows nothing down, and ``pwm-fan`` is the fan."""


def temperatures(root: Path) -> tuple[dict[str, float], int]:
    """Return °C by the zone's type, and how many zones beyond ``MAX_ZONES`` there are.

    A zone of a powered-off engine answers EAGAIN or -256 °C on Jetson: it has no temperature now, and is left out.
    """
    values: dict[str, float] = {}
    zones = entries(root / FOLDER, "thermal_zone")
    for zone in zones[:MAX_ZONES]:
        name, raw = read_text(zone / "type"), read_int(zone / "temp")
        if name and raw is not None and -60_000 < raw < 200_000:
            values[name if name not in values else f"{name}-{zone.name}"] = raw / 1000.0
    return values, max(0, len(zones) - MAX_ZONES)


def throttle_alerts(root: Path) -> dict[Path, str]:
    """Return the cooling devices that say so when clocks are lowered: folder → type."""
    found = {device: read_text(device / "type") or "" for device in entries(root / FOLDER, "cooling_device")}
    return {device: kind for device, kind in found.items() if kind.endswith(ALERT)}


def throttled_by(alerts: dict[Path, str]) -> tuple[str, ...]:
    """Return the types of the alerts that are on."""
    return tuple(kind for device, kind in alerts.items() if (read_int(device / "cur_state") or 0) > 0)
