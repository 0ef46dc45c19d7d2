"""What robots meet, on real parts: an executor that crashes, an engine that rots, a silent topic, a frame of another
size, shared memory that is full or holds what dead nodes left. Other faults are in the other test_runtime_* files."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.contract.node.health import Check, HealthReport
from runtime.contract.node.runtime_config import OutputBinding
from tests.fakes.nodes.runtime_folder import TOPIC, write_config, write_runtime

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install jetfleet[ros], or a ROS installation)")

from tests.contract.robot.robot_process import ROOT, StartRobot, ros_environment
from tests.contract.robot.shm_room import Room
from tests.contract.robot.test_runtime_inputs import play, send

WAIT_S = 120.0
CRASHING = '''
import ctypes, os
import numpy as np
from runtime.decoding.decoders import Classes
class Crashing:
    """Reads address 0 in native code, in the worker, once the file is there: the first self-test passes."""
    result = Classes
    def __init__(self, options):
        pass
    def __call__(self, tensor, view):
        if os.path.exists(os.environ["CRASHES_FROM_NOW_ON"]):
            ctypes.string_at(0)
        return Classes(np.zeros(1, np.int64), np.ones(1, np.float32), ("text",))
'''
NODE = "import rclpy; rclpy.init(); node = rclpy.create_node('fault'); print('up', flush=True); input()"


@pytest.fixture
def room() -> Iterator[Callable[[int], Room]]:
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        pytest.skip("a /dev/shm of one's own needs unshare and nsenter (util-linux)")
    rooms: list[Room] = []

    def make(megabytes: int) -> Room:
        rooms.append(Room(megabytes))
        if not rooms[-1].open:
            pytest.skip("a /dev/shm of one's own needs a mount namespace, which this user may not make (root may)")
        return rooms[-1]

    yield make
    for one in rooms:
        one.close()


def check(report: HealthReport, name: str) -> Check:
    return next((one for one in report.checks if one.name == name), Check(name, "", "no such check"))


def flip(engine: Path) -> None:
    """Change one bit in the middle of an engine file, as a worn flash does."""
    data = bytearray(engine.read_bytes())
    data[len(data) // 2] ^= 1
    engine.write_bytes(bytes(data))


def test_a_segfault_in_native_code_is_a_restart_and_then_a_crash_loop_with_the_signals_name(
    tmp_path: Path, robot: StartRobot, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    info = site / "crashing-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "crashing.py").write_text(CRASHING)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: crashing\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[jetfleet.decoders]\nboom = crashing:Crashing\n")
    folder = tmp_path / "rt"
    config = write_runtime(folder)
    bad = replace(config.models[0], outputs=(OutputBinding("map", "~/signs/text", "crashing:boom"),))
    write_config(folder, replace(config, models=(bad,), max_restarts=1, restart_window_s=1000.0))
    flag = tmp_path / "crashes"
    monkeypatch.setattr(
        "tests.contract.robot.robot_process.ros_environment",
        lambda path: {**ros_environment(path), "PYTHONPATH": f"{ROOT}:{site}", "CRASHES_FROM_NOW_ON": str(flag)},
    )
    one = robot(folder)
    one.until("readiness", lambda report: report.ready, WAIT_S)
    flag.touch()
    camera = subprocess.Popen(
        [sys.executable, "-m", "tests.contract.robot.ros_peer", "camera", "--frames", "100000", "--wait", "0"],
        env=one.environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        again = one.until("a restart", lambda report: report.executor.restarts == 1, WAIT_S)
        assert again.executor.last_exit.startswith("signal SIGSEGV")
        loop = one.until("the verdict", lambda report: report.executor.state == "crash_loop", WAIT_S)
    finally:
        camera.kill()
        camera.wait(WAIT_S)
    assert (loop.state, loop.live, loop.ready) == ("unhealthy", False, False)
    assert "crash loop after" in check(loop, "executor").message
    assert "signal SIGSEGV" in check(loop, "executor").message
    assert one.status("/healthz") == 503
    assert one.stop() == 0


def test_an_engine_with_one_bit_flipped_is_not_loaded_and_both_hashes_are_told(
    tmp_path: Path, robot: StartRobot
) -> None:
    folder = tmp_path / "rt"
    write_runtime(folder)
    flip(folder / "engines/signs/engine.onnx")
    one = robot(folder)
    report = one.until("the verdict", lambda report: check(report, "lifecycle").level == "error", WAIT_S)
    assert (report.state, report.live, report.ready) == ("unhealthy", True, False)
    assert report.models[0].state == "failed"
    assert re.search(r"engine\.onnx has sha256 \w{12}…, engine\.json says \w{12}…", report.models[0].last_error)
    assert report.executor.restarts == 0  # the same bytes again would not help
    assert one.stop() == 0


def test_an_engine_that_rots_under_a_running_executor_is_found_at_its_next_start(
    tmp_path: Path, robot: StartRobot
) -> None:
    folder = tmp_path / "rt"
    write_runtime(folder)
    one = robot(folder)
    ready = one.until("readiness", lambda report: report.ready, WAIT_S)
    flip(folder / "engines/signs/engine.onnx")
    assert len(one.peer("camera", "--frames", "6", "--hz", "10")["received"]) >= 4  # what is loaded goes on
    assert ready.executor.pid is not None
    os.kill(ready.executor.pid, signal.SIGKILL)
    report = one.until("the verdict", lambda report: check(report, "lifecycle").level == "error", WAIT_S)
    report = one.until("the reason", lambda report: report.models[0].state == "failed", WAIT_S)
    assert "engine.json says" in report.models[0].last_error
    assert (report.state, report.ready, report.executor.restarts) == ("unhealthy", False, 1)
    assert one.stop() == 0


def test_a_topic_that_falls_silent_is_stale_and_takes_the_robot_out_of_service_until_it_speaks(
    tmp_path: Path, robot: StartRobot
) -> None:
    write_runtime(tmp_path / "rt")
    one = robot(tmp_path / "rt")
    one.until("readiness", lambda report: report.ready, WAIT_S)
    command = [sys.executable, "-m", "tests.contract.robot.ros_peer", "camera", "--frames", "100000", "--wait", "0"]
    for silent in (True, False):  # once into silence, then back
        camera = subprocess.Popen(
            command, env=one.environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            one.until("service", lambda report: report.in_service, WAIT_S)
        finally:
            camera.kill()
            camera.wait(WAIT_S)
        if silent:
            report = one.until("silence", lambda report: check(report, "model:signs:input").level == "stale", WAIT_S)
            assert check(report, "model:signs:input").message == (
                "nothing arrives on /camera/image_raw: is its publisher running?"
            )
            assert (report.state, report.live, report.ready, report.in_service) == ("degraded", True, True, False)
            assert report.executor.restarts == 0
            assert one.status("/readyz") == 503
    assert one.stop() == 0


def test_frames_of_another_size_are_counted_with_both_sizes_and_the_model_stays(
    tmp_path: Path, robot: StartRobot
) -> None:
    write_runtime(tmp_path / "rt")
    one = robot(tmp_path / "rt")
    one.until("readiness", lambda report: report.ready, WAIT_S)
    wrong = [send(TOPIC, "image", 10, 1.0 + index) for index in range(7)]
    assert play(one, "signs/text", *wrong, {"counted": "size"}) == []
    model = one.until("the count", lambda report: report.models[0].errors, WAIT_S).models[0]
    assert (model.state, model.frames) == ("active", 0)
    assert model.last_error == "8x6 pixels, expected 160x120"
    assert len(one.peer("camera", "--frames", "6", "--hz", "10")["received"]) >= 4
    assert one.stop() == 0


def test_without_room_for_a_segment_frames_come_by_udp_and_the_log_has_both_numbers(
    tmp_path: Path, robot: StartRobot, room: Callable[[int], Room]
) -> None:
    small = room(8)
    write_runtime(tmp_path / "rt")
    one = robot(tmp_path / "rt", *small.enter)
    one.until("readiness", lambda report: report.ready, WAIT_S)
    assert "/dev/shm has 8 MiB free, a camera and this node need 32 MiB" in one.log.read_text()
    assert len(one.peer("camera", "--frames", "10", "--hz", "10")["received"]) >= 5
    assert one.report().executor.restarts == 0
    assert one.stop() == 0


def test_full_shared_memory_holds_the_executor_up_without_a_crash_loop_until_there_is_room(
    tmp_path: Path, robot: StartRobot, room: Callable[[int], Room]
) -> None:
    small = room(8)
    filler = small.fill()
    folder = tmp_path / "rt"
    write_config(folder, replace(write_runtime(folder), max_restarts=0, restart_window_s=1000.0))
    one = robot(folder, *small.enter)
    held = one.until("the reason", lambda report: "is full" in check(report, "executor").message, WAIT_S)
    said = check(held, "executor").message
    assert re.match(r"not started: /dev/shm is full \(\d+ KiB free, at least 1024 KiB are needed\): remove what ", said)
    assert (held.state, held.live, held.ready, held.executor.pid) == ("unhealthy", False, False, None)
    assert said.removeprefix("not started: ") in held.waiting_for[0]
    told = one.until("the disk's check", lambda report: check(report, "disk:/dev/shm").level == "warn", WAIT_S)
    assert check(told, "disk:/dev/shm").message.startswith("0 of 8 MiB free")
    filler.unlink()
    assert one.until("readiness", lambda report: report.ready, WAIT_S).executor.restarts == 0
    for ends in (1, 2):  # each would be the crash loop, if it were held against the executor
        filler = small.fill()
        pid = one.report().executor.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        down = one.until("the reason", lambda report: "is full" in check(report, "executor").message, WAIT_S)
        assert down.executor.last_exit == "signal SIGKILL"
        filler.unlink()
        back = one.until(
            "readiness", lambda report, ends=ends: report.ready and report.executor.restarts == ends, WAIT_S
        )
        assert back.state != "unhealthy"
    log = one.log.read_text()
    assert log.count("executor not started: /dev/shm is full") == 1  # said once, not at every look
    assert log.count("executor ended: signal SIGKILL; not started again: /dev/shm is full") == 2
    assert one.stop() == 0


def test_what_three_dead_nodes_left_is_removed_at_start_and_a_living_nodes_segment_stays(
    tmp_path: Path, robot: StartRobot, room: Callable[[int], Room]
) -> None:
    own = room(256)
    environment = ros_environment(tmp_path)
    nodes = [
        subprocess.Popen(
            [*own.enter, sys.executable, "-c", NODE], env=environment, cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )
        for _ in range(3)
    ]  # fmt: skip
    living: subprocess.Popen[str] | None = None
    try:
        for node in nodes:
            assert node.stdout is not None
            assert node.stdout.readline() == "up\n"
        dead = own.segments()
        assert len(dead) >= 3  # each has at least its own
        for node in nodes:
            node.kill()
            node.wait(WAIT_S)
        assert own.segments() == dead  # a killed node frees nothing
        living = subprocess.Popen(
            [*own.enter, sys.executable, "-c", NODE], env=environment, cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert living.stdout is not None
        assert living.stdout.readline() == "up\n"
        alive = own.segments() - dead
        assert alive
        past = time.time() - 60.0  # or they would be too young to be judged
        for name in dead | alive:
            os.utime(own.shm / f"{name}_el", (past, past))
        write_runtime(tmp_path / "rt")
        one = robot(tmp_path / "rt", *own.enter)
        left = own.segments()
        assert not left & dead
        assert alive <= left
        assert re.search(r"freed \d+ MiB of shared memory that dead processes had left", one.log.read_text())
        one.until("readiness", lambda report: report.ready, WAIT_S)
        assert one.stop() == 0
        assert own.segments() == alive
    finally:
        for node in (*nodes, *([] if living is None else [living])):
            node.kill()
            node.wait(WAIT_S)
            for stream in (node.stdin, node.stdout):
                assert stream is not None
                stream.close()
