"""Velocities on real parts: an executor process, an ONNX model that hangs in native code, and a base that listens."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime.contract.node.health import HealthReport
from runtime.executor.main import EXIT_ABANDONED
from tests.contract.commands.executor_site import PEER_S, Site
from tests.contract.robot.robot_process import ROOT, STOP_S, Robot, StartRobot
from tests.fakes.nodes.runtime_folder import KEY, TOPIC, write_config
from tests.fakes.nodes.velocity_engine import LIMITS, write_driver

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install jetfleet[ros], or a ROS installation)")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    one = Site(tmp_path, write_driver, "tests.contract.commands.velocity_peer")
    yield one
    one.end()


def test_nan_silence_and_a_hang_end_in_zero_and_no_command_is_over_the_limits(site: Site) -> None:
    executor = site.executor()
    seen = site.told(site.peer("faults"))
    limit = float(LIMITS["max_linear"])  # type: ignore[arg-type]
    assert max(abs(linear) for linear, _ in seen["commands"]) <= limit
    assert any(linear > 0 for linear, _ in seen["commands"])
    assert max(abs(angular) for _, angular in seen["commands"]) <= limit / 2 + 1e-9  # on the model's curve, slower
    assert seen["after_hang"] == [[0.0, 0.0]] * len(seen["after_hang"])
    assert len(seen["after_hang"]) >= 10  # the timer goes on while the inference hangs
    assert seen["stamps"] == sorted(seen["stamps"])
    assert all(map(math.isfinite, seen["stamps"]))
    assert seen["frames"] == ["base_link"]
    executor.send_signal(signal.SIGTERM)
    assert executor.wait(STOP_S) == EXIT_ABANDONED, site.log.read_text()  # hung as it is, within its deadline


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_last_command_before_the_end_is_zero(site: Site, number: signal.Signals) -> None:
    executor = site.executor()
    peer = site.peer("last")
    assert peer.stdout is not None
    assert json.loads(peer.stdout.readline() or "{}") == {"moving": True}
    executor.send_signal(number)
    seen = site.told(peer)
    assert seen["last"] == [0.0, 0.0]
    assert seen["moved"][0] > 0.0
    assert executor.wait(STOP_S) == 0, site.log.read_text()


def test_a_topic_that_another_node_commands_is_refused(site: Site) -> None:
    rival = site.peer("rival")
    assert rival.stdout is not None
    assert json.loads(rival.stdout.readline() or "{}") == {"there": True}
    site.executor()
    site.until_logged("/jetfleet/driver/cmd_vel is also commanded by /peer: stop it, remap one of the two")


def test_the_report_says_who_holds_a_robot_that_stands_still(robot: StartRobot, tmp_path: Path) -> None:
    write_driver(tmp_path / "rt")
    one = robot(tmp_path / "rt")
    rival = subprocess.Popen(
        [sys.executable, "-m", "tests.contract.commands.velocity_peer", "rival"],
        env=one.environment, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        # Discovery knows the publisher before the name of its node.
        report = one.until(
            "the other to be named", lambda report: report.models and "by /peer" in report.models[0].held
        )
    finally:
        rival.kill()
        rival.communicate(timeout=STOP_S)
    assert "/jetfleet/driver/cmd_vel is also commanded by /peer: stop it" in report.models[0].held
    assert "(/peer: participant 010f" in report.models[0].held
    check = next(check for check in report.checks if check.name == "model:driver:command")
    assert (check.level, check.message) == ("warn", f"commands nothing: {report.models[0].held}")
    one.until("nobody to be named once he is dead", lambda report: report.models and not report.models[0].held)


@contextmanager
def camera(one: Robot, offset_s: float, role: str = "clock") -> Iterator[dict[str, Any]]:
    """A camera whose clock is ``offset_s`` ahead of the robot's; afterwards, what its base was commanded."""
    seen: dict[str, Any] = {}
    command = [sys.executable, "-m", "tests.contract.commands.velocity_peer", role, "--offset", str(offset_s)]
    peer = subprocess.Popen(
        command, env=one.environment, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        yield seen
        out, _ = peer.communicate("", timeout=PEER_S)
        seen.update(json.loads(out.splitlines()[-1]))
    finally:
        peer.kill()
        peer.wait(STOP_S)


def command_check(report: HealthReport) -> str:
    return next((check.message for check in report.checks if check.name == "model:driver:command"), "")


def test_a_camera_with_another_clock_is_the_named_cause_of_a_robot_that_stands_still(
    robot: StartRobot, tmp_path: Path
) -> None:
    write_driver(tmp_path / "rt")
    one = robot(tmp_path / "rt")
    for offset_s, cause, said in ((-1e9, "clock_behind", "s behind"), (3600.0, "clock_ahead", "s ahead")):
        with camera(one, offset_s) as seen:
            report = one.until("the cause", lambda report, said=said: said in command_check(report))
            verified = one.verify(1.0)
        assert report.models[0].causes[cause] > 0
        assert report.state == "degraded"
        assert not report.in_service
        assert "declare `stamp: arrival` for this input" in command_check(report)
        assert report.models[0].commands[0].driven == 0
        failed = {finding.check for finding in verified.findings if not finding.passed}
        assert failed == {"sensors", "outputs"}
        assert seen["commands"] > 0
        assert seen["driving"] == 0


def test_a_base_that_listens_for_another_type_is_named(robot: StartRobot, tmp_path: Path) -> None:
    write_driver(tmp_path / "rt")
    one = robot(tmp_path / "rt")
    with camera(one, 0.0, "deaf"):
        report = one.until("both to be named", lambda report: report.models and len(report.models[0].unheard) == 2)
    other_type, latched = sorted(report.models[0].unheard)
    topic = "/jetfleet/driver/cmd_vel"
    assert latched.startswith(f"/peer subscribes to {topic} and receives nothing: its quality of service requests more")
    assert "transient local" in latched.lower()
    assert other_type.startswith(f"/base subscribes to {topic} as geometry_msgs/msg/Twist and receives nothing")
    assert any(check.name == "model:driver:listeners" and check.level == "warn" for check in report.checks)
    one.until("no one to be named when they are gone", lambda report: not report.models[0].unheard)


def test_a_camera_with_another_clock_drives_where_arrival_counts(robot: StartRobot, tmp_path: Path) -> None:
    config = write_driver(tmp_path / "rt")
    [model] = config.models
    arrival = replace(model, inputs=(replace(model.inputs[0], stamp="arrival"),))
    write_config(tmp_path / "rt", replace(config, models=(arrival,)))
    one = robot(tmp_path / "rt")
    with camera(one, -1e9) as seen:
        one.until(
            "it to drive", lambda report: report.models and any(each.driven for each in report.models[0].commands)
        )
    report = one.until("it to stop with its base", lambda report: report.models[0].commands[0].state == "held")
    assert report.models[0].commands[0].reason == "/jetfleet/driver/cmd_vel has no subscriber"
    assert report.models[0].causes.keys() <= {"lost", "replaced"}
    assert seen["driving"] > 0


def test_two_cameras_on_one_topic_are_named(robot: StartRobot, tmp_path: Path) -> None:
    write_driver(tmp_path / "rt")
    one = robot(tmp_path / "rt")
    with camera(one, 0.0):
        one.until("frames", lambda report: report.models and report.models[0].frames)
        assert one.report().models[0].mixed == ()
        with camera(one, 0.0):
            report = one.until("both to be named", lambda report: report.models[0].mixed)
        [said] = report.models[0].mixed
        assert said.startswith(
            "/camera/image_raw: messages of 2 publishers are mixed: /peer (namespace /, this host), "
        )
        assert any(check.name == "model:driver:publishers" and check.message == said for check in report.checks)
        one.until("one alone to be no mix", lambda report: not report.models[0].mixed)


def test_a_bag_that_pauses_and_loops_restarts_nothing(robot: StartRobot, tmp_path: Path) -> None:
    """With little patience for a heartbeat, and no clock at first: the watch is of steady time."""
    config = write_driver(tmp_path / "rt")
    write_config(tmp_path / "rt", replace(config, heartbeat_timeout_s=2.5))
    one = robot(tmp_path / "rt", "env", "JETFLEET_USE_SIM_TIME=true")
    still = "nothing new comes on /clock"
    one.until(
        "the clock that never came to be said", lambda report: any(still in each.message for each in report.checks)
    )
    player = subprocess.Popen(
        [sys.executable, "-m", "tests.contract.commands.velocity_peer", "simulation"],
        env=one.environment, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert player.stdin is not None
        assert player.stdout is not None
        drove = 0
        for _ in ("plays", "loops back", "goes on"):
            player.stdin.write("go\n")
            player.stdin.flush()
            told = json.loads(player.stdout.readline())["driving"]
            assert told > drove, one.log.read_text()
            drove = told
            one.until("the pause", lambda report: any(still in each.message for each in report.checks))
    finally:
        player.kill()
        player.communicate(timeout=STOP_S)
    report = one.report()
    assert (report.executor.restarts, report.executor.state) == (0, "running"), one.log.read_text()


def test_where_that_is_allowed_both_command(site: Site) -> None:
    site.executor(other_publishers="allow")
    assert site.told(site.peer("both")) == {"moving": True}
    assert "is also commanded" not in site.log.read_text()


def test_who_comes_late_is_told_what_the_model_is(site: Site) -> None:
    site.executor()
    assert site.told(site.peer("info")) == {
        "model": "driver",
        "precision": "fp32",
        "engine_key": KEY,
        "inputs": [{"tensor": "image", "topic": TOPIC, "type": "sensor_msgs/msg/Image"}],
        "outputs": [{"tensor": "command", "topic": "~/driver/cmd_vel", "decoder": "velocity", "labels": []}],
    }
