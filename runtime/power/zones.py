"""Which thermal zones say how hot the computer is: those of the chip, by the names that kernels give them.

A Wi-Fi card, a disk, a power regulator and the board have zones too (``iwlwifi_1``, ``nvme``, ``PMIC-Die``,
``Tboard_tegra``), with limits of their own: serving fewer frames cools none of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

SOC = frozenset({"cpu", "gpu", "soc", "tj", "cv", "mcpu", "bcpu", "aux", "npu", "bigcore", "littlecore"})
"""What such a zone's type begins with, digits left out: ``cpu-thermal``, ``soc0-thermal``, ``tj-thermal``,
``cv1-thermal`` (Orin), ``GPU-therm``, ``AUX-therm`` (Xavier), ``MCPU-therm`` (TX2), ``bigcore0-thermal`` (Rockchip).
And ``x86_pkg_temp``."""
_FIRST = re.compile(r"[a-z]+")


def of_chip(zone: str) -> bool:
    """Say whether a zone of this type is of the chip."""
    if zone.lower().startswith("x86_pkg"):
        return True
    first = _FIRST.match(zone.lower())
    return first is not None and first.group() in SOC


def hottest(temperatures_c: Mapping[str, float]) -> tuple[str, float] | None:
    """Return the chip's hottest zone and its °C; of all zones where none is known to be the chip's. None: no zones."""
    chip = {zone: celsius for zone, celsius in temperatures_c.items() if of_chip(zone)}
    return max((chip or dict(temperatures_c)).items(), key=lambda item: item[1], default=None)
