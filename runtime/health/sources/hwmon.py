"""What hangs at /sys/class/hwmon on a Jetson, found by name: power rails, over-current events, the fan.

Numbers of hwmon folders change from boot to boot; their ``name`` does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from runtime.health.sources.files import entries, read_int, read_text

FOLDER = Path("sys/class/hwmon")
I2C_FOLDER = Path("sys/bus/i2c/drivers/ina3221")
"""Where L4T 35 and 36 show the same power monitor; looked at when the class folder has none."""
POWER_MONITOR, OVER_CURRENT, FAN, TACHOMETER = "ina3221", "soctherm_oc", "pwmfan", "rpm"
SUM_OF_SHUNTS = 7
"""This channel of an INA3221 is the sum of the other channels' shunt voltages, no rail."""
TOTAL = "VDD_IN"
MAX_RAILS = 16
OC_EVENTS = ("oc1", "oc2", "oc3")
"""Of nvidia,tegra234-oc-event: under voltage, average over-current, instantaneous over-current."""
FAN_FULL = 255


@dataclass(frozen=True)
class Rail:
    """One channel of a power monitor."""

    label: str
    volts: Path
    """Millivolt."""
    amperes: Path
    """Milliampere."""

    def watts(self) -> float | None:
        """Return the power now."""
        millivolt, milliampere = read_int(self.volts), read_int(self.amperes)
        return None if millivolt is None or milliampere is None else millivolt * milliampere / 1e6


@dataclass(frozen=True)
class Hwmon:
    """What was found."""

    rails: tuple[Rail, ...] = ()
    over_current: Path | None = None
    fan_duty: Path | None = None
    fan_rpm: Path | None = None
    left_out: int = 0

    def over_current_events(self) -> dict[str, int]:
        """Return events since boot."""
        return {} if self.over_current is None else _numbers(self.over_current, "event_cnt")

    def over_current_throttles(self) -> dict[str, bool]:
        """Return whether the hardware slows clocks down at such an event."""
        found = {} if self.over_current is None else _numbers(self.over_current, "throt_en")
        return {name: value != 0 for name, value in found.items()}

    def duty(self) -> float | None:
        """Return what the fan is told, 0 to 1."""
        raw = None if self.fan_duty is None else read_int(self.fan_duty)
        return None if raw is None else min(max(raw / FAN_FULL, 0.0), 1.0)

    def rpm(self) -> int | None:
        """Return what the fan's tachometer says."""
        return None if self.fan_rpm is None else read_int(self.fan_rpm)


def find(root: Path) -> Hwmon:
    """Look for everything once."""
    folders = [(folder, read_text(folder / "name") or "") for folder in entries(root / FOLDER, "hwmon")]
    monitors = [folder for folder, name in folders if name == POWER_MONITOR] or _on_i2c(root)
    rails = [rail for monitor in monitors for rail in _rails(monitor)]
    return Hwmon(
        rails=tuple(rails[:MAX_RAILS]),
        over_current=next((folder for folder, name in folders if name == OVER_CURRENT), None),
        fan_duty=next((folder / "pwm1" for folder, name in folders if name == FAN), None),
        # The tachometer is a device of its own, whose only attribute is `rpm`.
        fan_rpm=next((path for folder, _ in folders if read_int(path := folder / TACHOMETER) is not None), None),
        left_out=max(0, len(rails) - MAX_RAILS),
    )


def _on_i2c(root: Path) -> list[Path]:
    devices = [device for device in entries(root / I2C_FOLDER) if "-" in device.name]
    return [folder for device in devices for folder in entries(device / "hwmon", "hwmon")]


def _rails(monitor: Path) -> list[Rail]:
    rails = []
    for path in entries(monitor, "in"):
        channel = path.name.removeprefix("in").removesuffix("_label")
        if path.name.endswith("_label") and channel.isdigit() and int(channel) != SUM_OF_SHUNTS:
            label = read_text(path) or ""
            if label and label != "NC":  # not connected
                rails.append(Rail(label, monitor / f"in{channel}_input", monitor / f"curr{channel}_input"))
    return rails


def _numbers(folder: Path, suffix: str) -> dict[str, int]:
    found = {name: read_int(folder / f"{name}_{suffix}") for name in OC_EVENTS}
    return {name: value for name, value in found.items() if value is not None}
