"""The runtime container's content on real parts: agent, executor, rclpy, ONNX Runtime, and a camera beside them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.contract.node.health import HealthReport
from runtime.contract.node.runtime_config import OutputBinding
from tests.fakes.nodes.runtime_folder import KEY, write_config, write_engine, write_runtime

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install jetfleet[ros], or a ROS installation)")

from tests.contract.robot.robot_process import READY_S, ROOT, STOP_S, StartRobot, ros_environment


def test_frames_come_back_as_boxes_and_nothing_is_lost_uncounted(tmp_path: Path, robot: StartRobot) -> None:
    write_runtime(tmp_path / "rt")
    one = robot(tmp_path / "rt")
    ready = one.until("readiness", lambda report: report.ready)
    assert ready.models[0].self_test is not None
    assert ready.models[0].self_test.passed
    assert ready.models[0].engine_key == KEY

    seen = one.peer("camera", "--frames", "20", "--hz", "10")
    sent = {frame["header"]["frame_id"]: frame for frame in seen["sent"]}
    assert len(seen["received"]) >= 15  # best effort on a busy machine; what is missing is counted below
    for result in seen["received"]:
        frame = sent[result["header"]["frame_id"]]
        assert result["header"] == frame["header"]
        assert result["model"] == "signs"
        found = [[box["x"], box["y"], box["w"], box["h"]] for box in result["boxes"]]
        assert found == ([frame["box"]] if frame["box"] else [])
    back = len(seen["received"])
    counted = one.until("the count of what came back", lambda report: report.models[0].frames >= back)
    model = counted.models[0]
    assert model.errors == 0
    assert model.frame_age_ms is not None
    assert model.frame_age_ms.p50 > 0

    before = sum(_counts(one.report()))
    burst = one.peer("camera", "--frames", "200", "--burst")  # far faster than anybody can look
    indices = [int(result["header"]["frame_id"].removeprefix("camera_")) for result in burst["received"]]
    assert indices == sorted(indices)
    between = indices[-1] - indices[0] + 1  # everything published from the first looked at to the last
    report = one.until("the last frame's count", lambda report: sum(_counts(report)) >= before + between)
    assert sum(_counts(report)) <= before + len(burst["sent"])
    assert _counts(report)[1] > 0

    one.peer("camera", "--frames", "5", "--encoding", "bgr8", "--wait", "1")
    wrong = one.until("the wrong frames' count", lambda report: report.models[0].errors >= 4).models[0]
    assert wrong.last_error.startswith("encoding 'bgr8', expected 'rgb8': declare encoding: bgr8")
    assert wrong.state == "active"
    assert one.stop() == 0


def _counts(report: HealthReport) -> tuple[int, int]:
    return report.models[0].frames, report.models[0].drops


def test_a_killed_and_a_hung_executor_are_restarted_and_the_report_says_so(tmp_path: Path, robot: StartRobot) -> None:
    write_runtime(tmp_path / "rt", heartbeat_timeout_s=5.0)
    one = robot(tmp_path / "rt")
    first = one.until("readiness", lambda report: report.ready).executor.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    down = one.until("the agent's notice", lambda report: not report.live)
    assert down.state == "unhealthy"
    assert one.status("/healthz") == 503
    again = one.until("a new executor", lambda report: report.ready)
    assert again.executor.restarts == 1
    assert again.executor.last_exit == "signal SIGKILL"
    assert again.executor.pid != first

    assert again.executor.pid is not None
    os.kill(again.executor.pid, signal.SIGSTOP)  # hung: alive, and moving nothing
    third = one.until("a restart of the hung one", lambda report: report.ready and report.executor.restarts == 2)
    assert "hung: no heartbeat for 5." in third.executor.last_exit
    assert one.stop() == 0


def test_a_failed_self_test_is_unhealthy_with_its_reason_and_no_restart_loop(tmp_path: Path, robot: StartRobot) -> None:
    write_runtime(tmp_path / "rt", golden_shift=3.0)
    one = robot(tmp_path / "rt")
    report = one.until("the verdict", lambda report: report.models[0].state == "failed")
    test = report.models[0].self_test
    assert test is not None
    assert not test.passed
    settled = one.until("the lifecycle's verdict", lambda report: _level(report, "lifecycle") == "error")
    assert settled.state == "unhealthy"
    assert not settled.ready
    assert settled.live
    assert any("self-test failed" in check.message for check in settled.checks if check.name == "model:signs")
    assert (settled.executor.restarts, settled.executor.lifecycle) == (0, "unconfigured")
    assert one.status("/readyz") == 503
    assert one.stop() == 0


def _level(report: HealthReport, name: str) -> str:
    return next((check.level for check in report.checks if check.name == name), "")


def test_one_broken_model_leaves_the_other_serving(tmp_path: Path, robot: StartRobot) -> None:
    folder = tmp_path / "rt"
    config = write_runtime(folder)
    write_engine(folder / "engines" / "torn")
    (folder / "engines" / "torn" / "engine.onnx").write_bytes(b"torn")
    torn = replace(config.models[0], name="torn", outputs=(OutputBinding("map", "~/torn/text", "text_boxes"),))
    write_config(folder, replace(config, models=(torn, config.models[0])))
    one = robot(folder)
    report = one.until("activation", lambda report: report.executor.lifecycle == "active")
    states = {model.name: model.state for model in report.models}
    assert states == {"torn": "failed", "signs": "active"}
    assert "bytes, engine.json says" in report.models[0].last_error
    assert (report.state, report.ready) == ("unhealthy", False)
    assert one.peer("camera", "--frames", "20", "--hz", "10")["received"], "it serves again"
    assert one.stop() == 0


def test_the_standard_lifecycle_services(tmp_path: Path, robot: StartRobot) -> None:
    write_runtime(tmp_path / "rt")
    one = robot(tmp_path / "rt")
    one.until("readiness", lambda report: report.ready)
    deactivate, cleanup, configure, activate = "4", "2", "1", "3"
    for transition, state in ((deactivate, "inactive"), (cleanup, "unconfigured"), (configure, "inactive")):
        assert one.peer("lifecycle", "--transition", transition) == {"success": True, "state": state}
    inactive = one.until("the report", lambda report: report.executor.lifecycle == "inactive")
    assert (inactive.state, inactive.ready) == ("unhealthy", False)
    assert one.peer("lifecycle", "--transition", activate) == {"success": True, "state": "active"}
    assert one.until("readiness", lambda report: report.ready).executor.restarts == 0
    assert one.peer("camera", "--frames", "20", "--hz", "10")["received"], "it serves again"
    assert one.stop() == 0


def test_the_executor_ends_when_its_agent_is_gone(tmp_path: Path, robot: StartRobot) -> None:
    write_runtime(tmp_path / "rt")
    one = robot(tmp_path / "rt")
    executor = one.until("readiness", lambda report: report.ready).executor.pid
    assert executor is not None
    one.process.kill()
    one.process.wait(STOP_S)
    end = time.monotonic() + STOP_S
    while Path(f"/proc/{executor}/status").exists() and "State:\tZ" not in Path(f"/proc/{executor}/status").read_text():
        assert time.monotonic() < end, "the executor outlives its agent"
        time.sleep(0.05)


def test_the_executor_runs_and_ends_without_an_agent(tmp_path: Path) -> None:
    write_runtime(tmp_path / "rt")
    environment = {
        **ros_environment(tmp_path),
        "JETFLEET_CONFIG": str(tmp_path / "rt/runtime.json"),
        "JETFLEET_ENGINES_DIR": str(tmp_path / "rt/engines"),
    }
    log = tmp_path / "executor.log"
    with log.open("wb") as stream:
        command = [sys.executable, "-m", "runtime.executor"]
        process = subprocess.Popen(command, env=environment, cwd=ROOT, stderr=stream, stdout=stream)
    try:
        end = time.monotonic() + READY_S
        while "is active" not in log.read_text():
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_S) == 0, log.read_text()
    finally:
        process.kill()
        process.wait(STOP_S)
