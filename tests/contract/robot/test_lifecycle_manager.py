"""`autostart: false` on real parts: the node waits for a lifecycle manager, and does what it asks as nav2's does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.contract.node.health import HealthReport
from tests.contract.robot.robot_process import ROOT, STOP_S, StartRobot
from tests.fakes.nodes.runtime_folder import write_runtime

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install jetfleet[ros], or a ROS installation)")


def lifecycle(report: HealthReport) -> tuple[str, str]:
    check = next(check for check in report.checks if check.name == "lifecycle")
    return check.level, check.message.partition(":")[0]


def test_a_lifecycle_manager_brings_the_node_up_and_down(robot: StartRobot, tmp_path: Path) -> None:
    write_runtime(tmp_path / "rt")
    one = robot(tmp_path / "rt", "env", "JETFLEET_AUTOSTART=false")
    report = one.until("it to wait", lambda report: lifecycle(report) == ("warn", "unconfigured"))
    manager = subprocess.Popen(
        [sys.executable, "-m", "tests.contract.robot.manager_peer"],
        env=one.environment, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip

    def order(word: str) -> str:
        assert manager.stdin is not None
        assert manager.stdout is not None
        manager.stdin.write(f"{word}\n")
        manager.stdin.flush()
        return str(json.loads(manager.stdout.readline()))

    try:
        assert order("startup") == "done", one.log.read_text()
        report = one.until("it to serve", lambda report: report.ready)
        assert lifecycle(report) == ("ok", "active")
        assert order("pause") == "done", one.log.read_text()
        report = one.until("it to pause", lambda report: lifecycle(report) == ("warn", "inactive"))
        assert (report.state, report.ready, report.executor.restarts) == ("degraded", False, 0)
        assert order("resume") == "done", one.log.read_text()
        assert order("startup") == "transition 1 was refused"  # it is up
        one.until("it to serve again", lambda report: report.ready)
        assert order("shutdown") == "done", one.log.read_text()
        one.until("its end", lambda report: lifecycle(report) == ("warn", "finalized"))
    finally:
        manager.kill()
        manager.communicate(timeout=STOP_S)
    assert one.stop() == 0, one.log.read_text()


def test_another_word_than_true_and_false_is_said(robot: StartRobot, tmp_path: Path) -> None:
    write_runtime(tmp_path / "rt")
    one = robot(tmp_path / "rt", "env", "JETFLEET_AUTOSTART=maybe")
    said = "JETFLEET_AUTOSTART=maybe: write true (the node becomes active by itself) or false"
    one.until("the word to be named", lambda report: any(said in check.message for check in report.checks))
