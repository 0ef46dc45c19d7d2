"""Heat from a sensor's file to a slower mode and a quiet model, and back: agent, executor, rclpy, updater, all real.

Only the sensor and nvpmodel are stand-ins: files below a root of their own, and a program on PATH.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.contract.codec import canonical_json
from runtime.contract.node.health import HealthReport
from runtime.contract.node.runtime_config import FallbackEngine
from runtime.contract.robot.power import ENV_POWER, GovernorSettings, PowerPolicy, PowerStatus
from tests.contract.robot.robot_process import Robot
from tests.contract.updater.test_updater_power import Robot as Host
from tests.fakes.nodes.runtime_folder import KEY, write_config, write_engine, write_runtime

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install jetfleet[ros], or a ROS installation)")

DEADLINE_S = 90.0
LIGHT = "sha256:" + "cd" * 32
QUICK = GovernorSettings(worse_after_s=1.0, better_after_s=1.0, rate_steps=(0.5,))
POLICY = PowerPolicy("40W", ("25W", "40W"), sm_count=8, governor=QUICK)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    folder = tmp_path / "host"
    folder.mkdir()
    found = Host(folder, sys.executable)
    found.release(POLICY, os.geteuid())
    found.start()
    yield found
    if found.process is not None:
        found.stop(signal.SIGKILL)


@pytest.fixture
def robot(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Robot]:
    monkeypatch.setenv(ENV_POWER, canonical_json(POLICY).decode())
    monkeypatch.setenv("JETFLEET_POWER_SOCKET", str(host.socket))
    monkeypatch.setenv("JETFLEET_HOST_ROOT", str(host.jetson.root))
    heat(host, 50)
    write_runtime(tmp_path / "rt")
    found = Robot(tmp_path / "rt", tmp_path)
    yield found
    if found.process.poll() is None:
        found.process.kill()
        found.process.wait(30)


def test_a_lighter_engine_serves_while_it_is_hot(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calm = GovernorSettings(worse_after_s=1.0, better_after_s=1.0, rate_steps=(), hot_c=85.0)
    monkeypatch.setenv(ENV_POWER, canonical_json(PowerPolicy(governor=calm, lighter=("signs",))).decode())
    monkeypatch.setenv("JETFLEET_HOST_ROOT", str(host.jetson.root))
    heat(host, 50)
    folder = tmp_path / "rt"
    config = write_runtime(folder)
    (own,) = config.models
    light = folder / "engines" / "signs" / "fp16"
    identity = replace(write_engine(light), model="signs", key=LIGHT, precision="fp16")
    (light / "engine.json").write_bytes(canonical_json(identity))
    beside = FallbackEngine("signs", "fp16", LIGHT, own.inputs, own.outputs)
    write_config(folder, replace(config, models=(replace(own, fallback=beside),)))
    one = Robot(folder, tmp_path)
    try:
        one.until("readiness", lambda report: report.ready, DEADLINE_S)
        heat(host, 90)
        hot = one.until("the lighter engine", lambda report: report.models[0].serving == "fallback", DEADLINE_S)
        assert hot.models[0].engine_key == LIGHT
        assert hot.models[0].serving_reason.startswith("hot: tj-thermal 90 °C")
        heat(host, 50)
        cool = one.until("its own", lambda report: report.models[0].serving == "configured", DEADLINE_S)
        assert cool.models[0].engine_key == KEY
    finally:
        one.process.kill()
        one.process.wait(30)


def heat(host: Host, celsius: int) -> None:
    zone = host.jetson.root / "sys/class/thermal/thermal_zone0"
    zone.mkdir(parents=True, exist_ok=True)
    (zone / "type").write_text("tj-thermal\n")
    (zone / "temp").write_text(f"{celsius * 1000}\n")


def power(report: HealthReport) -> PowerStatus:
    assert report.power is not None
    return report.power


def answers(robot: Robot, *, some: bool) -> None:
    """Send frames until there are answers, or until there are none."""
    end = time.monotonic() + DEADLINE_S
    while True:
        received = robot.peer("camera", "--frames", "4", "--hz", "10", "--wait", "2")["received"]
        if bool(received) == some:
            return
        assert time.monotonic() < end, f"received {received}\n{robot.log.read_text()}"


def test_heat_slows_a_robot_down_and_cold_brings_it_back(robot: Robot, host: Host) -> None:
    robot.until("readiness", lambda report: report.ready, DEADLINE_S)
    robot.until("the resting mode", lambda report: power(report).mode == "40W", DEADLINE_S)
    assert host.jetson.mode == "40W"
    answers(robot, some=True)

    heat(host, 90)
    robot.until("fewer frames", lambda report: power(report).level >= 1, DEADLINE_S)
    robot.until("a slower mode", lambda report: power(report).mode == "25W", DEADLINE_S)
    assert host.jetson.mode == "25W"
    hot = robot.until("refusal", lambda report: power(report).refused == ("signs",), DEADLINE_S)
    assert hot.state == "unhealthy"
    assert any(check.name == "power" and check.level == "error" for check in hot.checks)
    answers(robot, some=False)
    assert robot.report().models[0].last_error == "not served: hot: tj-thermal 90 °C, limit 85 °C"
    assert robot.report().models[0].state == "active"

    heat(host, 50)
    robot.until("everything again", lambda report: power(report).level == 0, DEADLINE_S)
    robot.until("the resting mode again", lambda report: power(report).mode == "40W", DEADLINE_S)
    answers(robot, some=True)
    assert not host.jetson.rebooted
    log = robot.log.read_text()
    assert "[agent] power: " in log
    assert "step 1 of 3" in log


def test_without_the_host_frames_are_still_taken_away(robot: Robot, host: Host) -> None:
    robot.until("the resting mode", lambda report: power(report).mode == "40W", DEADLINE_S)
    host.stop(signal.SIGKILL)
    heat(host, 99)
    lost = robot.until("refusal", lambda report: power(report).refused, DEADLINE_S)
    assert power(lost).level == power(lost).max_level
    told = robot.until("the reason", lambda report: power(report).problem, DEADLINE_S)
    assert "is fleet-updater running there" in power(told).problem
    assert robot.status("/metrics") == 200
