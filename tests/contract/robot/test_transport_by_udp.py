"""A camera that started before the network was up: Fast DDS takes it for another host's, and the report says so."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.frames.network import write_network, write_runtime
from runtime.contract.node.health import HealthReport

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install jetfleet[ros], or a ROS installation)")

from tests.contract.commands.network_room import NetworkRoom
from tests.contract.robot.robot_process import ROOT, Robot, ros_environment

WAIT_S = 120.0
CAMERA = (sys.executable, "-m", "benchmarks.soak.camera", "640", "480", "15")
BY_UDP = "/bench/image from /soak_camera comes by UDP, where most large messages are lost"


@pytest.fixture
def network() -> Iterator[NetworkRoom]:
    if shutil.which("ip") is None:
        pytest.skip("a network of one's own needs ip (iproute2)")
    try:
        room = NetworkRoom()
    except OSError as error:
        pytest.skip(f"a network of one's own needs root: {error}")
    yield room
    room.leave()


def transport(report: HealthReport) -> tuple[str, str]:
    """Level and sentence."""
    return next(((check.level, check.message) for check in report.checks if check.name == "transport"), ("", ""))


def camera(tmp_path: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(CAMERA, env=ros_environment(tmp_path), cwd=ROOT, stdout=subprocess.DEVNULL)


def until_seen_and_well(robot: Robot) -> HealthReport:
    """Frames come, and the transport is fine: a busy machine may fail the first round trip, the next one is not far."""
    return robot.until("frames", lambda report: report.models[0].frames > 5 and transport(report)[0] == "ok", WAIT_S)


def test_a_camera_older_than_an_address_is_named_until_it_is_restarted(tmp_path: Path, network: NetworkRoom) -> None:
    folder = tmp_path / "rt"
    folder.mkdir()
    write_network(tmp_path / "network.onnx")
    write_runtime(folder, tmp_path / "network.onnx", 480, 640)
    eye = camera(tmp_path)
    first: Robot | None = None
    second: Robot | None = None
    try:
        first = Robot(folder, tmp_path)
        assert until_seen_and_well(first).models[0].by_udp == ()  # both saw the same addresses
        assert first.stop() == 0
        network.add_address("10.213.7.1/24")
        second = Robot(folder, tmp_path)
        report = second.until("the trap", lambda report: BY_UDP in transport(report)[1], WAIT_S)
        assert transport(report)[0] == "warn"
        assert "restart it now that the network is up" in transport(report)[1]
        assert report.models[0].by_udp == ("/bench/image from /soak_camera",)
        assert (report.state, report.ready) == ("degraded", True)
        eye.terminate()
        eye.wait(WAIT_S)
        eye = camera(tmp_path)  # sees what the executor saw
        second.until("its end", lambda report: report.models[0].by_udp == (), WAIT_S)
        until_seen_and_well(second)
        assert second.stop() == 0
    finally:
        for process in (eye, *(robot.process for robot in (first, second) if robot is not None)):
            process.kill()
            process.wait(WAIT_S)
