"""What of a machine is judged, and that none of it makes a robot unhealthy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from runtime.contract.node.health import DEGRADED, OK, Space, SystemHealth
from runtime.contract.node.runtime_config import RuntimeConfig
from runtime.health.checks.judge import HOLD_S, Judge
from runtime.health.checks.machine_checks import SAMPLE_LIMIT_S, Reading, readings
from runtime.health.sources.machine import Machine
from tests.fakes.robots.machine_tree import write_machine
from tests.unit.health.conftest import model_health, snapshot


def named(system: SystemHealth, name: str) -> Reading:
    [found] = [reading for reading in readings(system) if reading.name == name]
    return found


def test_a_machine_that_offers_nothing_is_not_judged() -> None:
    assert list(readings(SystemHealth())) == []


def test_a_hot_and_throttled_orin(tmp_path: Path, config: RuntimeConfig) -> None:
    machine = Machine(write_machine(tmp_path, "l4t-36"), {})
    machine.sample(0.0)
    system = machine.sample(2.0)
    assert named(system, "temperature").bad
    assert named(system, "throttling").text == "clocks are lowered because of heat: gpu-throttle-alert"
    assert named(system, "memory").bad
    assert not named(system, "overcurrent").bad  # 27390 events since boot, none in these two seconds
    judge = Judge(config)
    judge.judge(snapshot(model_health()), system, 0.0)
    assert judge.judge(snapshot(model_health()), system, HOLD_S).state == DEGRADED


def test_a_cool_orin_is_fine(tmp_path: Path) -> None:
    system = Machine(write_machine(tmp_path, "l4t-35"), {}).sample(0.0)
    assert not any(reading.bad for reading in readings(system))


@pytest.mark.parametrize(
    ("rates", "throttles", "bad", "text"),
    [
        ({"oc1": 0.0, "oc2": 0.0, "oc3": 0.2}, {}, False, "oc1 (under voltage) 0/s"),
        ({"oc1": 0.0, "oc3": 7.6}, {"oc3": True}, True, "oc3 (instantaneous over-current) 7.6/s; each oc3 cuts clocks"),
        ({"oc1": 1 / 60, "oc3": 0.0}, {"oc1": True}, True, "oc1 (under voltage) 0.0167/s; each oc1 cuts clocks"),
        ({"oc2": 0.05}, {"oc2": False}, True, "oc2 (average over-current) 0.05/s"),
        ({"oc9": 0.05}, {}, True, "oc9 (event) 0.05/s"),
    ],
)
def test_over_current_is_judged_by_its_rate(
    rates: dict[str, float], throttles: dict[str, bool], bad: bool, text: str
) -> None:
    found = named(SystemHealth(overcurrent_per_s=rates, overcurrent_throttles=throttles), "overcurrent")
    assert found.bad == bad
    assert found.text.startswith(text)


def test_over_current_that_ends_is_forgotten_after_the_hold(config: RuntimeConfig) -> None:
    judge, process = Judge(config), snapshot(model_health())
    calm, stormy = SystemHealth(overcurrent_per_s={"oc3": 0.0}), SystemHealth(overcurrent_per_s={"oc3": 9.0})
    assert judge.judge(process, stormy, 0.0).state == OK
    assert judge.judge(process, stormy, HOLD_S).state == DEGRADED
    assert judge.judge(process, calm, HOLD_S + 1).state == DEGRADED
    assert judge.judge(process, calm, 2 * HOLD_S + 1).state == OK


def test_every_volume_has_its_own_check() -> None:
    mebibyte = 1 << 20
    disks = {"/": Space(1000 * mebibyte, 900 * mebibyte), "/dev/shm": Space(64 * mebibyte, 5 * mebibyte)}
    system = SystemHealth(disk_free_bytes=900 * mebibyte, disks=disks)
    assert not named(system, "disk").bad
    assert named(system, "disk:/dev/shm") == Reading("disk:/dev/shm", True, "5 of 64 MiB free")
    roomy = replace(system, disks={"/dev/shm": Space(64 * mebibyte, 32 * mebibyte)})
    assert not named(roomy, "disk:/dev/shm").bad


def test_sensors_that_hang_are_said() -> None:
    assert named(SystemHealth(sample_age_s=SAMPLE_LIMIT_S + 1), "sensors").text.endswith("not been read for 11 s")
