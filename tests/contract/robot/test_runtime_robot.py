"""What a node tells and keeps on a robot, with real rclpy: diagnostics, reserved CPUs, and the update lock."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.contract.codec import canonical_json
from runtime.contract.node.resources import ENV_INHIBIT, ENV_RESOURCES, InhibitPolicy, InhibitRule, ResourcePolicy
from runtime.updater.robot.update_lock import take
from runtime.updater.state.lock_answer import FREE, HELD, SILENT, LockAnswer
from tests.fakes.nodes.runtime_folder import write_runtime

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install jetfleet[ros], or a ROS installation)")

from tests.contract.robot.robot_process import ROOT, StartRobot

WAIT_S = 90.0
PEER = (sys.executable, "-m", "tests.contract.robot.life_peer")


def answered(path: Path, done: Callable[[LockAnswer], bool]) -> LockAnswer:
    """Ask as the updater would, until the answer is the one that is waited for."""
    end = time.monotonic() + WAIT_S
    while True:
        answer, held = take(True, path)
        if held is not None:
            held.release()
        if done(answer):
            return answer
        assert time.monotonic() < end, answer
        time.sleep(0.05)


def test_diagnostics_tell_a_models_state_and_unknown_cpus_are_a_note(
    tmp_path: Path,
    robot: StartRobot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(ENV_RESOURCES, canonical_json(ResourcePolicy(worker_cpus=(1000,))).decode())
    write_runtime(tmp_path / "rt")
    one = robot(tmp_path / "rt")
    report = one.until("readiness", lambda report: report.ready, WAIT_S)
    assert any("the worker is not pinned: CPU 1000" in check.message for check in report.checks)
    done = subprocess.run(
        [*PEER, "diagnostics"], env=one.environment, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    found = json.loads(done.stdout)
    assert (found["level"], found["name"], found["message"]) == (3, "jetfleet: signs", "no input")
    assert (found["values"]["state"], found["values"]["serving"]) == ("active", "configured")
    assert one.stop() == 0


def test_the_update_lock_follows_the_rules_and_dies_with_the_node(
    tmp_path: Path,
    robot: StartRobot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rules = (InhibitRule("velocity", "/cmd_vel", 1.0), InhibitRule("bool", "/mission/active"))
    path = tmp_path / "update.lock"
    monkeypatch.setenv(ENV_INHIBIT, canonical_json(InhibitPolicy(rules)).decode())
    monkeypatch.setenv("JETFLEET_LOCK_FILE", str(path))
    write_runtime(tmp_path / "rt")
    one = robot(tmp_path / "rt")
    one.until("readiness", lambda report: report.ready, WAIT_S)
    answered(path, lambda answer: answer.state == FREE)
    for role, reason in (("moving", "/cmd_vel asked for motion"), ("mission", "/mission/active is true")):
        peer = subprocess.Popen([*PEER, role], env=one.environment, cwd=ROOT, stdout=subprocess.DEVNULL)
        try:
            said = answered(path, lambda answer, want=reason: any(want in one for one in answer.reasons))  # type: ignore[misc]
            assert said.state == HELD
            one.until(
                "the note", lambda report, want=reason: any(want in check.message for check in report.checks), WAIT_S
            )
        finally:
            peer.kill()
            peer.wait(WAIT_S)
    # The one that said there is a mission is gone and took nothing back: what was true stays true.
    # The motion before it counts for its second.
    answered(path, lambda answer: (answer.state, answer.reasons) == (HELD, ("/mission/active is true",)))
    assert one.stop() == 0
    later = time.clock_gettime(time.CLOCK_BOOTTIME) + 60
    assert take(True, path, now=later)[0].state == SILENT


def test_a_service_decides_about_updates_and_nobody_there_to_ask_is_a_no(
    tmp_path: Path,
    robot: StartRobot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "update.lock"
    monkeypatch.setenv(
        ENV_INHIBIT, canonical_json(InhibitPolicy((InhibitRule("service", "/may_update", 1.0),))).decode()
    )
    monkeypatch.setenv("JETFLEET_LOCK_FILE", str(path))
    write_runtime(tmp_path / "rt")
    one = robot(tmp_path / "rt")
    one.until("readiness", lambda report: report.ready, WAIT_S)
    nobody = ("/may_update does not answer: no node offers it",)
    answered(path, lambda answer: answer.state == HELD and answer.reasons == nobody)
    peer = subprocess.Popen([*PEER, "service"], env=one.environment, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        answered(path, lambda answer: answer.state == HELD and answer.reasons == ("/may_update answers no: charging",))
        answered(path, lambda answer: answer.state == FREE)
    finally:
        peer.kill()
        peer.wait(WAIT_S)
    answered(path, lambda answer: answer.state == HELD)  # it is gone, and its last yes with it
    assert one.stop() == 0
