"""JointState messages as bytes, and options of joint outputs, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from builtin_interfaces.msg import Time
from rclpy.serialization import serialize_message
from sensor_msgs.msg import JointState
from std_msgs.msg import Header

JOINTS = ("hip", "knee")
POSITION: dict[str, Any] = {
    "joints": list(JOINTS), "interface": "position", "measured": "/joint_states", "max_jump": 0.5,
    "min_position": [-1.0, -2.0], "max_position": [1.0, 0.5], "max_velocity": 2.0, "on_failure": "hold_position",
}  # fmt: skip
SPEED: dict[str, Any] = {
    "joints": list(JOINTS), "interface": "velocity", "measured": "/joint_states", "max_jump": 0.5,
    "max_velocity": [1.0, 2.0], "max_acceleration": 4.0,
}  # fmt: skip
EFFORT: dict[str, Any] = {
    "joints": list(JOINTS), "interface": "effort", "measured": "/joint_states", "max_jump": 0.5, "max_effort": 10.0,
    "max_effort_rate": 100.0, "max_velocity": 3.0, "damping": [2.0, 4.0], "when_stopped": "zero",
}  # fmt: skip


def joint_state(
    position: Sequence[float],
    velocity: Sequence[float] = (0.0, 0.0),
    names: Sequence[str] = JOINTS,
    stamp_s: float = 0.0,
) -> bytes:
    """Return a serialized sensor_msgs/msg/JointState."""
    stamp = Time(sec=int(stamp_s), nanosec=int(stamp_s % 1 * 1e9))
    message = JointState(header=Header(stamp=stamp), name=list(names))
    message.position, message.velocity = list(map(float, position)), list(map(float, velocity))
    data: bytes = serialize_message(message)
    return data
