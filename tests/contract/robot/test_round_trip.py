"""At the start an image of real size goes through the transport: with the image's profile, with stock Fast DDS."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from runtime.contract.node.health import Check, HealthReport
from runtime.contract.node.runtime_config import InputBinding, ModelRuntime, OutputBinding
from tests.contract.robot.robot_process import StartRobot, ros_environment
from tests.fakes.nodes.runtime_folder import write_config, write_runtime

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install jetfleet[ros], or a ROS installation)")

PROFILES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
HEIGHT, WIDTH = 720, 1280


def folder_for_720p(folder: Path) -> Path:
    """A model that serves, and one beside it that takes 720p images (and has no engine)."""
    config = write_runtime(folder)
    large = InputBinding("image", "/camera/large", "sensor_msgs/msg/Image", "rgb8", HEIGHT, WIDTH)
    output = OutputBinding("map", "~/large/text", "text_boxes")
    model = ModelRuntime("large", "fp32", config.models[0].engine_key, (large,), (output,))
    write_config(folder, replace(config, models=(*config.models, model)))
    return folder


def transport(report: HealthReport) -> Check | None:
    return next((check for check in report.checks if check.name == "transport"), None)


def test_with_the_images_profile_every_image_comes_back(tmp_path: Path, robot: StartRobot) -> None:
    one = robot(folder_for_720p(tmp_path / "rt"))
    # A busy machine may fail the first trip; the next one is made by itself.
    report = one.until("a trip that passed", lambda report: (found := transport(report)) and found.level == "ok")
    found = transport(report)
    assert found is not None
    assert "frames of 1280x720 rgb8 (2.6 MiB) came back to the node" in found.message
    assert not any("transport" in reason for reason in report.waiting_for)
    active = one.until("activation", lambda report: report.executor.lifecycle == "active")
    assert active.executor.restarts == 0
    assert one.stop() == 0


def test_stock_fast_dds_loses_them_and_the_robot_is_out_of_service_but_alive(
    tmp_path: Path, robot: StartRobot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.contract.robot.robot_process.ros_environment", _stock)
    one = robot(folder_for_720p(tmp_path / "rt"))
    report = one.until("a trip", transport)
    found = transport(report)
    assert found is not None
    assert found.level == "warn", found.message
    assert "at least 8 must: give the node the image's Fast DDS profile" in found.message
    active = one.until("activation", lambda report: report.executor.lifecycle == "active")
    assert active.live
    assert {model.name: model.state for model in active.models} == {"signs": "active", "large": "failed"}
    assert one.status("/readyz") == 503
    assert one.peer("camera", "--frames", "6", "--hz", "10")["received"]  # small images pass, and it serves
    assert one.report().executor.restarts == 0
    assert one.stop() == 0


def _stock(tmp_path: Path) -> dict[str, str]:
    """The image's environment without its profile."""
    return {name: value for name, value in ros_environment(tmp_path).items() if name not in PROFILES}
