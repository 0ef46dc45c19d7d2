"""Two robots in one ROS domain: each hears its own sensors alone, and whoever is not its own is named."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runtime.contract.codec import canonical_json
from runtime.contract.node.inputs import LASER_SCAN
from runtime.contract.node.ros_settings import ENV_RMW, ENV_ROS, RosNames
from runtime.contract.node.runtime_config import InputBinding, ModelRuntime, OutputBinding, RuntimeConfig
from tests.contract.robot.robot_process import ROOT, Robot
from tests.fakes.nodes.input_models import write_sum_engine
from tests.fakes.nodes.runtime_folder import KEY, write_config

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install jetfleet[ros], or a ROS installation)")

REMAP = {"/lidar/scan": "front/scan"}


def start(folder: Path, name: str, **environment: str) -> Robot:
    """One robot; everything but the ROS domain is its own."""
    inputs = (
        InputBinding("near", "scan", LASER_SCAN, shape=(1, 4)),
        InputBinding("far", "/lidar/scan", LASER_SCAN, shape=(1, 4)),
    )
    one = ModelRuntime("sum", "fp32", KEY, inputs, (OutputBinding("y", "~/sum", "tensor"),))
    write_sum_engine(folder / "engines" / "sum", {each.tensor: ("float32", each.shape) for each in inputs})
    write_config(folder, RuntimeConfig(models=(one,), heartbeat_timeout_s=30.0))
    names = canonical_json(RosNames(f"/{name}", REMAP)).decode()
    variables = {ENV_ROS: names, **environment}
    return Robot(folder, folder, ("env", *(f"{key}={value}" for key, value in variables.items())))


def sensors(one: Robot, namespace: str, results: str, *steps: dict[str, Any]) -> list[dict[str, Any]]:
    script = {"results": results, "steps": steps, "report": f"http://127.0.0.1:{one.port}/report"}
    command = [sys.executable, "-m", "tests.contract.robot.sensor_peer", "--ros-args", "-r", f"__ns:=/{namespace}"]
    done = subprocess.run(
        command, input=json.dumps(script), env=one.environment, cwd=ROOT, capture_output=True, text=True, timeout=180,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + one.log.read_text()
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def scans(value: float) -> list[dict[str, Any]]:
    return [{"topic": topic, "kind": "scan", "value": value} for topic in ("scan", "front/scan")]


def test_two_robots_in_one_domain_hear_their_own_sensors_and_a_foreign_one_is_named(tmp_path: Path) -> None:
    robots = {}
    try:
        for name in ("amr1", "amr2"):
            (tmp_path / name).mkdir()
            robots[name] = start(tmp_path / name, name)
        for name, value in (("amr1", 2.0), ("amr2", 3.0)):
            robots[name].until("readiness", lambda report: report.ready)
            [result] = sensors(robots[name], name, f"/{name}/jetfleet/sum", *scans(value), {"expect": 1})
            assert result["data"][0] == value
            robots[name].until("the count", lambda report: report.models[0].frames == 1)
            assert robots["amr2"].report().models[0].frames == (1 if name == "amr2" else 0)
        heard = robots["amr1"].verify(1.0)
        assert "has no publisher" not in str(heard.findings)
        stranger = [{"topic": "/amr1/scan", "kind": "scan", "value": 9.0}, {"noted": "not of this robot"}]
        sensors(robots["amr1"], "amr2", "/amr1/jetfleet/sum", *stranger)
        [said] = robots["amr1"].report().models[0].mixed
        assert said.startswith("/amr1/scan is published by /amr2/sensors (namespace /amr2, ")
        assert "which is not of this robot (namespace /amr1): stop it, or remap one of the two" in said
        assert robots["amr2"].report().models[0].mixed == ()
    finally:
        for one in robots.values():
            one.end()


def test_a_middleware_that_is_not_there_is_said(tmp_path: Path) -> None:
    one = start(tmp_path, "amr1", **{ENV_RMW: "rmw_cyclonedds_cpp"})
    try:
        report = one.until("the reason", lambda report: "RMW_IMPLEMENTATION" in report.executor.last_exit)
        assert not report.ready
        assert "the middleware that RMW_IMPLEMENTATION names is not in this image" in report.executor.last_exit
    finally:
        one.end()
