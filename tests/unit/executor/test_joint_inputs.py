"""Real serialized joint states, odometry, poses and arrays: what a policy observes, or refused with the cure."""

from __future__ import annotations

import array
import contextlib
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from runtime.contract.node.inputs import (
    FLOAT32_ARRAY,
    FLOAT64_ARRAY,
    JOINT_STATE,
    ODOMETRY,
    POSE_STAMPED,
)
from runtime.contract.node.runtime_config import InputBinding
from runtime.decoding.decoders import OptionError
from runtime.executor.inputs.adapters import adapter_for
from runtime.executor.inputs.frames import FrameRefusedError

sensor = pytest.importorskip("sensor_msgs.msg", reason="needs ROS 2's messages (pip install jetfleet[ros])")
geometry = pytest.importorskip("geometry_msgs.msg")
standard = pytest.importorskip("std_msgs.msg")
serialize: Callable[[Any], bytes] = pytest.importorskip("rclpy.serialization").serialize_message

pytestmark = pytest.mark.filterwarnings("ignore:module 'sre_parse'", "ignore:module 'sre_constants'")  # of a dependency

NAN, INF = float("nan"), float("inf")
LEG = ["hip", "knee", "ankle"]


def wanted(kind: str, *shape: int, **options: Any) -> InputBinding:
    return InputBinding("obs", "/in", kind, shape=shape, options=options)


def through(binding: InputBinding, *messages: Any) -> list[float]:
    adapter, tensor = adapter_for(binding), np.full(binding.shape, 77, np.float32)
    for message in messages:
        raw = message if isinstance(message, bytes) else serialize(message)
        adapter.fill(adapter.take(raw).data, tensor)
    return [round(float(value), 5) for value in tensor.ravel()]


def odometry(pose: Any, twist: Any, child: str) -> bytes:
    """nav_msgs/msg/Odometry out of its parts, whose package need not be there: header, frame, pose, twist."""
    head = serialize(standard.Header(frame_id="odom"))
    head += bytes(-(len(head) - 4) % 4) + struct.pack("<I", len(child) + 1) + child.encode() + b"\0"
    covered = (geometry.PoseWithCovariance(pose=pose), geometry.TwistWithCovariance(twist=twist))
    for part in covered:
        part.covariance[0] = 77.0
    return head + bytes(-(len(head) - 4) % 8) + b"".join(serialize(part)[4:] for part in covered)


def refusal(binding: InputBinding, message: Any) -> tuple[str, str]:
    with pytest.raises(FrameRefusedError) as caught:
        through(binding, message)
    return caught.value.kind, str(caught.value)


def state(names: list[str], position: list[float], velocity: list[float] = [], effort: list[float] = []) -> Any:  # noqa: B006
    message = sensor.JointState(name=names, position=position, velocity=velocity, effort=effort)
    message.header.stamp.sec, message.header.frame_id = 12, "base"
    return message


def test_joints_are_taken_by_name_whatever_their_order_and_however_many() -> None:
    binding = wanted(JOINT_STATE, 1, 6, joints=LEG)
    first = state(["ankle", "gripper", "hip", "knee"], [3.0, 9.0, 1.0, 2.0], [0.3, 0.9, 0.1, 0.2])
    other = state(["knee", "ankle", "hip"], [5.0, 6.0, 4.0], [0.5, 0.6, 0.4])
    assert through(binding, first) == [1.0, 2.0, 3.0, 0.1, 0.2, 0.3]
    assert through(binding, first, other) == [4.0, 5.0, 6.0, 0.4, 0.5, 0.6]
    taken = adapter_for(binding).take(serialize(first))
    assert taken.stamp is not None
    assert (taken.stamp.sec, taken.stamp.frame_id) == (12, "base")
    only = wanted(JOINT_STATE, 1, 3, joints=LEG, fields=["effort"])
    assert through(only, state(LEG, [], [], [7.0, 8.0, 9.0])) == [7.0, 8.0, 9.0]


@pytest.mark.parametrize("velocity", [[], [0.1, NAN, 0.3]])
def test_what_a_driver_leaves_out_is_refused_or_zero_as_declared(velocity: list[float]) -> None:
    message = state(LEG, [1.0, 2.0, 3.0], velocity)
    kind, said = refusal(wanted(JOINT_STATE, 1, 6, joints=LEG), message)
    assert kind == "not_finite"
    assert f"the velocity of {'knee' if velocity else 'hip'} is not a finite" in said
    assert "declare options: {missing: zero}" in said
    filled = through(wanted(JOINT_STATE, 1, 6, joints=LEG, missing="zero"), message)
    assert filled == [1.0, 2.0, 3.0, *([0.1, 0.0, 0.3] if velocity else [0.0] * 3)]


@pytest.mark.parametrize(
    ("message", "kind", "says"),
    [
        (lambda: state(["hip", "knee"], [1.0, 2.0]), "joints", "no joint is called ankle; the message has hip, knee"),
        (lambda: state([*LEG, "hip"], [1.0] * 4, [1.0] * 4), "joints", "joint hip is named twice"),
        (lambda: state(LEG, [1.0, NAN, 3.0], [1.0] * 3), "not_finite", "the position of knee"),
        (lambda: state(LEG, [1.0] * 3, [1.0, INF, 1.0]), "not_finite", "the velocity of knee"),
        (lambda: state(LEG, [1.0] * 3, [1.0] * 2), "size", "2 values of velocity for 3 joints"),
    ],
)
def test_joint_states_that_do_not_fit(message: Callable[[], Any], kind: str, says: str) -> None:
    found, said = refusal(wanted(JOINT_STATE, 1, 6, joints=LEG, missing="zero"), message())
    assert found == kind
    assert says in said


def test_odometry_and_poses_in_their_documented_order() -> None:
    pose, twist = geometry.Pose(), geometry.Twist()
    pose.position.x, pose.position.y, pose.position.z = 1.0, 2.0, 3.0
    pose.orientation.x, pose.orientation.y, pose.orientation.z, pose.orientation.w = 0.1, 0.2, 0.3, 0.9
    twist.linear.x, twist.linear.y, twist.linear.z = 4.0, 5.0, 6.0
    twist.angular.x, twist.angular.y, twist.angular.z = 7.0, 8.0, 9.0
    whole = [1.0, 2.0, 3.0, 0.1, 0.2, 0.3, 0.9, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]
    for child in ("", "b", "base", "base_link"):  # alignment
        message = odometry(pose, twist, child)
        assert through(wanted(ODOMETRY, 1, 13), message) == whole
    fields = ["twist.angular.z", "pose.position.x"]
    assert through(wanted(ODOMETRY, 1, 2, fields=fields), message) == [9.0, 1.0]
    assert through(wanted(POSE_STAMPED, 1, 7), geometry.PoseStamped(pose=pose)) == whole[:7]
    pose.orientation = geometry.Quaternion(x=0.0, y=0.0, z=0.0, w=0.0)
    assert refusal(wanted(POSE_STAMPED, 1, 7), geometry.PoseStamped(pose=pose))[0] == "not_measured"
    message = odometry(pose, twist, "base_link")
    assert through(wanted(ODOMETRY, 1, 2, fields=fields), message) == [9.0, 1.0]  # the quaternion is not asked for


@pytest.mark.parametrize(
    ("kind", "name", "form"), [(FLOAT32_ARRAY, "Float32MultiArray", "f"), (FLOAT64_ARRAY, "Float64MultiArray", "d")]
)
def test_arrays_of_numbers(kind: str, name: str, form: str) -> None:
    message = getattr(standard, name)(data=array.array(form, [1.5, -2.0, 3.0]))
    assert through(wanted(kind, 1, 3), message) == [1.5, -2.0, 3.0]
    message.layout.dim = [standard.MultiArrayDimension(label="joints", size=3, stride=3)]
    assert through(wanted(kind, 1, 3), message) == [1.5, -2.0, 3.0]
    assert refusal(wanted(kind, 1, 4), message) == ("size", "3 values from data_offset 0 on, expected 4 from 0 on")
    message.data[1] = NAN
    assert refusal(wanted(kind, 1, 3), message) == ("not_finite", "value 1 is not a finite float32")


@pytest.mark.parametrize(
    ("binding", "says"),
    [
        (wanted(JOINT_STATE, 1, 6), "needs joints"),
        (
            wanted(JOINT_STATE, 1, 5, joints=LEG),
            "2 fields of 3 joints are 6: write [1, 6]: first position, then velocity of all joints",
        ),
        (wanted(JOINT_STATE, 1, 4, joints=["a", "a"]), "no joint is named, or one twice"),
        (wanted(ODOMETRY, 1, 12), "gives 13"),
        (wanted(POSE_STAMPED, 1, 6), "gives 7"),
    ],
)
def test_an_input_that_cannot_be_made(binding: InputBinding, says: str) -> None:
    with pytest.raises(OptionError) as caught:
        adapter_for(binding)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        (wanted(JOINT_STATE, 1, 6, joints=LEG), lambda: state(LEG, [1.0] * 3, [1.0] * 3)),
        (wanted(POSE_STAMPED, 1, 7), lambda: geometry.PoseStamped(pose=geometry.Pose())),
        (wanted(FLOAT64_ARRAY, 1, 3), lambda: standard.Float64MultiArray(data=[1.0, 2.0, 3.0])),
    ],
)
def test_a_message_cut_anywhere_or_garbled_is_refused_and_raises_nothing_else(
    binding: InputBinding, message: Callable[[], Any]
) -> None:
    adapter, whole = adapter_for(binding), serialize(message())
    for at in range(len(whole)):
        for broken in (whole[:at], whole[:at] + b"\xff" + whole[at + 1 :]):
            with contextlib.suppress(FrameRefusedError):
                adapter.take(broken)
    with pytest.raises(FrameRefusedError):
        adapter.take(whole[:-9])
