"""What commands look like on the wire: real messages as ros2_control's controllers and simulators take them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.contract.node.runtime_config import InputBinding, ModelRuntime, OutputBinding
from runtime.decoding.decoders import JointCommand, OptionError, Velocity
from runtime.executor.serving.candidates import Unpublished, configured, prepare
from tests.unit.executor.joint_messages import EFFORT, JOINTS, POSITION, SPEED

kinds = pytest.importorskip("runtime.executor.outputs.command_kinds", reason="needs ROS 2 (pip install jetfleet[ros])")
COMMAND = JointCommand(np.array([0.5, -0.25]))
NOW_NS = 12_000_000_034


def kind(options: dict[str, Any]) -> Any:
    return kinds.kind_of(JointCommand, options, lambda name: f"/amr1/{name.lstrip('/')}", lambda: NOW_NS)


def test_values_alone_for_a_forward_command_controller() -> None:
    made = kind(POSITION)
    message = made.fill(COMMAND, None, NOW_NS)
    assert f"{made.message.__module__.split('.')[0]}/{made.message.__name__}" == "std_msgs/Float64MultiArray"
    assert list(message.data) == [0.5, -0.25]
    assert made.measured_topic == "/amr1/joint_states"


def test_one_point_from_now_on_for_a_joint_trajectory_controller() -> None:
    made = kind({**POSITION, "message": "JointTrajectory", "time_from_start": "1.25s"})
    message = made.fill(COMMAND, None, NOW_NS)
    assert f"{made.message.__module__.split('.')[0]}/{made.message.__name__}" == "trajectory_msgs/JointTrajectory"
    assert message.joint_names == list(JOINTS)
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (0, 0)
    [point] = message.points
    assert list(point.positions) == [0.5, -0.25]
    assert (point.time_from_start.sec, point.time_from_start.nanosec) == (1, 250_000_000)
    assert (list(point.velocities), list(point.effort)) == ([], [])


@pytest.mark.parametrize(("options", "field"), [(POSITION, "position"), (SPEED, "velocity"), (EFFORT, "effort")])
def test_names_and_one_field_for_a_simulator(options: dict[str, Any], field: str) -> None:
    message = kind({**options, "message": "JointState"}).fill(COMMAND, None, NOW_NS)
    assert message.name == list(JOINTS)
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (12, 34)
    found = {name: list(getattr(message, name)) for name in ("position", "velocity", "effort")}
    assert {name: values for name, values in found.items() if values} == {field: [0.5, -0.25]}


def test_a_message_whose_package_is_missing_refuses_the_model_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "HAS_TRAJECTORY_MSGS", False)
    with pytest.raises(kinds.MissingMessageError, match="trajectory_msgs is not installed: install it"):
        kind({**POSITION, "message": "JointTrajectory", "time_from_start": "40ms"})


def test_a_model_whose_output_cannot_be_published_is_not_loaded(tmp_path: Path) -> None:
    output = OutputBinding("action", "/arm/joint_trajectory", "joints", POSITION)
    model = ModelRuntime("arm", "fp32", "sha256:0", (InputBinding("obs", "/in", "x/msg/Y"),), (output,))
    missing = Unpublished("trajectory_msgs is not installed")

    def loader(model: ModelRuntime, folder: Path) -> Any:
        raise AssertionError("an engine is loaded for nothing")

    with pytest.raises(OptionError, match="trajectory_msgs is not installed"):
        prepare(model, configured(model, tmp_path), {output.topic: missing}, loader)
    with pytest.raises(AssertionError, match="for nothing"):
        prepare(model, configured(model, tmp_path), {output.topic: lambda stamp, result: None}, loader)


def test_who_commands() -> None:
    assert kinds.commands(Velocity)
    assert kinds.commands(JointCommand)
    assert not kinds.commands(np.ndarray)
