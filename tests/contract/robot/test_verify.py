"""`/verify` on real parts: the agent, the executor, a camera, and a third process that listens and hashes."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime.contract.codec import from_json
from runtime.contract.robot.verification import Finding, Verification
from tests.contract.robot.robot_process import ROOT, STOP_S, Robot, StartRobot
from tests.fakes.nodes.runtime_folder import write_runtime

ANSWER_S = 120.0


def verify(one: Robot, seconds: float = 3.0) -> dict[str, Finding]:
    connection = http.client.HTTPConnection("127.0.0.1", one.port, timeout=ANSWER_S)
    try:
        connection.request("GET", f"/verify?seconds={seconds:g}")
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    assert answer.status == 200, body
    verification = from_json(Verification, body)
    found = {finding.check: finding for finding in verification.findings}
    assert verification.passed == all(finding.passed for finding in found.values())
    return found


@contextmanager
def camera(one: Robot) -> Iterator[None]:
    """Frames at 10 Hz for as long as the block runs."""
    command = [sys.executable, "-m", "tests.contract.robot.ros_peer", "camera", "--frames", "100000", "--hz", "10"]
    process = subprocess.Popen(command, env=one.environment, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait(STOP_S)


def test_a_robot_verifies_itself(tmp_path: Path, robot: StartRobot) -> None:
    folder = tmp_path / "rt"
    write_runtime(folder)
    one = robot(folder)
    waiting = one.until("readiness", lambda report: report.ready)
    assert waiting.in_service is False
    assert any("no real frame" in reason for reason in waiting.waiting_for)
    assert one.status("/readyz") == 503  # proven, and nothing to see yet
    with camera(one):
        one.until("service", lambda report: report.in_service)
        assert one.status("/readyz") == 200
        found = verify(one)
        assert {check: finding.passed for check, finding in found.items()} == {
            "engine": True, "model": True, "sensors": True, "inference": True, "outputs": True,
        }, found  # fmt: skip
        engine = folder / "engines/signs/engine.onnx"
        content = bytearray(engine.read_bytes())
        content[-1] ^= 1
        engine.write_bytes(bytes(content))  # after it was loaded: only who reads it again can know
        found = verify(one)
        assert [check for check, finding in found.items() if not finding.passed] == ["engine"]
        assert "has sha256" in found["engine"].reason

    one.until("silence", lambda report: not report.in_service)
    assert one.report().ready  # a dead camera is no release's fault
    found = verify(one, 1.0)
    failed = {check: finding.reason for check, finding in found.items() if not finding.passed}
    assert set(failed) == {"engine", "sensors", "inference", "outputs"}
    assert "is its publisher running?" in failed["sensors"]
    assert "its publisher is silent" in failed["outputs"]
    assert one.stop() == 0


def test_a_failed_model_is_found(tmp_path: Path, robot: StartRobot) -> None:
    write_runtime(tmp_path / "rt", golden_shift=3.0)
    one = robot(tmp_path / "rt")
    one.until("the verdict", lambda report: report.models[0].state == "failed")
    found = verify(one, 1.0)
    assert not found["model"].passed
    assert found["engine"].passed
    assert "self-test" in found["model"].reason
    assert one.stop() == 0


def test_nonsense_is_refused_with_what_to_do(tmp_path: Path, robot: StartRobot) -> None:
    write_runtime(tmp_path / "rt")
    one = robot(tmp_path / "rt")
    for query in ("seconds=0", "seconds=x"):
        connection = http.client.HTTPConnection("127.0.0.1", one.port, timeout=ANSWER_S)
        connection.request("GET", f"/verify?{query}")
        answer = connection.getresponse()
        assert answer.status == 400
        assert "/verify?seconds=5" in json.loads(answer.read())["error"]
        connection.close()
