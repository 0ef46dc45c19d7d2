"""An executor's life on real parts: an engine that fails gives way, an engine is put in under frames, ends in order."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime.contract.codec import canonical_json
from runtime.contract.node.runtime_config import FallbackEngine
from tests.fakes.nodes.runtime_folder import KEY, write_config, write_engine, write_runtime

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install jetfleet[ros], or a ROS installation)")

from runtime.executor.main import EXIT_ABANDONED
from tests.contract.robot.robot_process import ROOT, StartRobot, ros_environment

NEW = "sha256:" + "cd" * 32
WAIT_S = 90.0
CAMERA = (sys.executable, "-m", "tests.contract.robot.ros_peer", "camera")


def test_the_declared_fallback_serves_in_place_of_a_torn_engine(
    tmp_path: Path,
    robot: StartRobot,
) -> None:
    folder = tmp_path / "rt"
    config = write_runtime(folder)
    identity = write_engine(folder / "engines" / "signs" / "fp16")
    (folder / "engines/signs/fp16/engine.json").write_bytes(
        canonical_json(replace(identity, model="signs", key=NEW, precision="fp16"))
    )
    (folder / "engines/signs/engine.onnx").write_bytes(b"torn")
    own = config.models[0]
    beside = FallbackEngine("signs", "fp16", NEW, own.inputs, own.outputs)
    write_config(folder, replace(config, models=(replace(own, fallback=beside),)))
    one = robot(folder)
    report = one.until("the fallback", lambda report: report.ready, WAIT_S)
    model = report.models[0]
    assert (model.state, model.serving, model.engine_key, model.precision) == ("active", "fallback", NEW, "fp16")
    assert "bytes, engine.json says" in model.serving_reason
    assert report.state == "degraded"
    assert any("its fallback signs fp16 cdcdcdcdcdcd serves" in check.message for check in report.checks)
    assert len(one.peer("camera", "--frames", "6", "--hz", "10")["received"]) >= 4
    assert one.stop() == 0


def test_an_engine_is_put_in_under_frames_and_every_frame_is_counted(
    tmp_path: Path,
    robot: StartRobot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JETFLEET_SWAP_DIR", str(tmp_path / "swap"))
    write_runtime(tmp_path / "rt")
    one = robot(tmp_path / "rt")
    one.until("readiness", lambda report: report.ready, WAIT_S)
    seen: dict[str, Any] = {}
    camera = threading.Thread(target=lambda: seen.update(one.peer("camera", "--frames", "150", "--hz", "15")))
    camera.start()
    try:
        one.until("frames", lambda report: report.models[0].frames > 5, WAIT_S)
        identity = write_engine(tmp_path / "beside" / "signs", key=NEW)
        assert identity.model == "signs"
        (tmp_path / "swap").mkdir()
        (tmp_path / "beside" / "signs").rename(tmp_path / "swap" / "signs")
        swapped = one.until("the swap", lambda report: report.models[0].serving == "swapped", WAIT_S)
    finally:
        camera.join(WAIT_S)
    assert swapped.models[0].engine_key == NEW
    assert swapped.executor.restarts == 0
    indices = [int(result["header"]["frame_id"].removeprefix("camera_")) for result in seen["received"]]
    between = indices[-1] - indices[0] + 1
    report = one.until(
        "the last frame's count",
        lambda report: report.models[0].frames + report.models[0].drops >= between,
        WAIT_S,
    )
    model = report.models[0]
    assert model.errors == 0
    assert model.frames + model.drops <= len(seen["sent"])
    assert (report.state, report.ready) == ("degraded", True)

    (tmp_path / "swap" / "signs").rename(tmp_path / "swap" / "away")
    back = one.until("the release's engine", lambda report: report.models[0].engine_key == KEY, WAIT_S)
    assert back.models[0].serving == "configured"
    assert one.stop() == 0


def executor(folder: Path, tmp_path: Path) -> tuple[subprocess.Popen[bytes], Path, dict[str, str]]:
    """An executor without an agent, active; its log and its environment."""
    environment = {
        **ros_environment(tmp_path),
        "JETFLEET_CONFIG": str(folder / "runtime.json"),
        "JETFLEET_ENGINES_DIR": str(folder / "engines"),
    }
    log = tmp_path / "executor.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "runtime.executor"], env=environment, cwd=ROOT, stderr=stream, stdout=stream
        )
    end = time.monotonic() + WAIT_S
    while "is active" not in log.read_text():
        assert time.monotonic() < end, log.read_text()
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)
    return process, log, environment


def test_sigterm_while_inferring_ends_with_0(tmp_path: Path) -> None:
    write_runtime(tmp_path / "rt")
    process, log, environment = executor(tmp_path / "rt", tmp_path)
    said = tmp_path / "camera.log"
    with said.open("wb") as stream:
        peer = subprocess.Popen(
            [*CAMERA, "--frames", "100000", "--hz", "200"], env=environment, cwd=ROOT, stderr=stream, stdout=stream
        )
    try:
        end = time.monotonic() + WAIT_S
        while "sending" not in said.read_text():
            assert time.monotonic() < end, said.read_text()
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0, log.read_text()
    finally:
        for one in (peer, process):
            one.kill()
            one.wait(WAIT_S)


def test_sigterm_with_an_inference_hung_in_native_code_ends_at_the_deadline_and_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "rt"
    write_runtime(folder)
    write_engine(folder / "engines" / "signs", hangs=True)
    process, log, environment = executor(folder, tmp_path)
    try:
        command = [*CAMERA, "--frames", "3", "--level", "255", "--wait", "1"]
        subprocess.run(command, env=environment, cwd=ROOT, check=True, timeout=WAIT_S, stdout=subprocess.DEVNULL)
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == EXIT_ABANDONED, log.read_text()
    finally:
        process.kill()
        process.wait(WAIT_S)
    assert "ending at once with code 4" in log.read_text()


def test_an_inference_hung_in_native_code_is_ended_and_the_report_tells_its_exit_code(
    tmp_path: Path,
    robot: StartRobot,
) -> None:
    folder = tmp_path / "rt"
    write_runtime(folder, heartbeat_timeout_s=5.0)
    write_engine(folder / "engines" / "signs", hangs=True)
    one = robot(folder)
    one.until("readiness", lambda report: report.ready, WAIT_S)
    one.peer("camera", "--frames", "3", "--level", "255", "--wait", "1")
    again = one.until("a new executor", lambda report: report.executor.restarts == 1 and report.ready, WAIT_S)
    # Its own deadline and the agent's patience are of one length: either may come first.
    assert "hung: no heartbeat for" in again.executor.last_exit
    assert again.executor.last_exit.startswith(("exit code 4, abandoned at its own deadline", "signal SIGKILL"))
    assert one.stop() == 0
