"""Which zones are the chip's: names of real machines."""

from __future__ import annotations

import pytest

from runtime.power.zones import hottest, of_chip


@pytest.mark.parametrize(
    "zone",
    [
        "cpu-thermal", "gpu-thermal", "soc0-thermal", "soc2-thermal", "cv1-thermal", "tj-thermal",  # Orin
        "CPU-therm", "GPU-therm", "AUX-therm", "MCPU-therm", "BCPU-therm",  # Xavier, TX2
        "cpu_thermal", "bigcore0-thermal", "npu-thermal", "soc-thermal", "x86_pkg_temp", "cpu-thermal-thermal_zone3",
    ],
)  # fmt: skip
def test_zones_of_the_chip(zone: str) -> None:
    assert of_chip(zone)


@pytest.mark.parametrize(
    "zone",
    ["iwlwifi_1", "PMIC-Die", "Tboard_tegra", "Tdiode_tegra", "thermal-fan-est", "nvme", "acpitz", "battery", "",
     "wifi", "tjunction-board", "x86", "cpufan", "INT3400 Thermal"],
)  # fmt: skip
def test_zones_of_something_else(zone: str) -> None:
    assert not of_chip(zone)


def test_the_chips_hottest_zone_and_of_all_where_none_is_known() -> None:
    assert hottest({"cpu-thermal": 50.0, "tj-thermal": 52.0, "iwlwifi_1": 95.0}) == ("tj-thermal", 52.0)
    assert hottest({"acpitz": 40.0, "board": 60.0}) == ("board", 60.0)
    assert hottest({}) is None
