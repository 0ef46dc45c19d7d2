"""What a command output publishes, by its decoder's result: velocities of the robot, or commands of its joints."""

from __future__ import annotations

import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Twist, TwistStamped
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from runtime.contract.node.commands import COMMANDS, TRAJECTORY, joint_guard, velocity_guard
from runtime.decoding.results import JointCommand, Velocity
from runtime.executor.inputs.frames import Stamp
from runtime.executor.outputs.command_guard import CommandGuard
from runtime.executor.outputs.joint_motion import JointLimits, JointMotion, rules_of, timing_of
from runtime.executor.outputs.measured_joints import MeasuredJoints
from runtime.executor.outputs.velocity_guard import VelocityGuard, VelocityLimits

try:
    from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint
except ImportError:
    HAS_TRAJECTORY_MSGS = False
else:
    HAS_TRAJECTORY_MSGS = True

Fill = Callable[[Any, Any, int], Any]
"""Value, what came with the result that drives (None: none does), nanoseconds of the node's clock → message, valid
until the next call."""


class MissingMessageError(Exception):
    """The package of an output's message is not installed here."""


@dataclass(frozen=True, slots=True)
class CommandKind:
    """One output's guard and messages."""

    name: str
    """Of the decoder's result: ``velocity`` or ``joints``."""
    result: type[Any]
    guard: CommandGuard[Any]
    message: type[Any]
    fill: Fill
    other_publishers: str
    """refuse | warn | allow."""
    unheard: str = ""
    """What to do when nobody listens, for a person."""
    measured_topic: str = ""
    measured: MeasuredJoints | None = None
    motion: JointMotion | None = None

    @property
    def limited(self) -> tuple[int, str]:
        """How many commands were cut at a limit, or held back at one, and the last of them in words."""
        return (0, "") if self.motion is None else (self.motion.limited_count, self.motion.said)


def kind_of(
    result: type[Any], options: Mapping[str, Any], resolve: Callable[[str], str], now_ns: Callable[[], int]
) -> CommandKind:
    """Return what an output with this decoder's result publishes. ``resolve`` makes a topic's full name.

    Raises OptionError for options that are wrong, MissingMessageError.
    """
    return _velocity(options) if result is Velocity else _joints(options, resolve, now_ns)


def commands(result: type[Any]) -> bool:
    """Say whether a decoder's result commands the robot."""
    return result in (Velocity, JointCommand)


def _velocity(options: Mapping[str, Any]) -> CommandKind:
    take = velocity_guard(options)
    kind = TwistStamped if take["message"] == "TwistStamped" else Twist
    fill = TwistFill(kind(), take["frame_id"], keeps_stamp=take["stamp"] == "input")
    guard = VelocityGuard(VelocityLimits.of(options))
    return CommandKind("velocity", Velocity, guard, kind, fill, take["other_publishers"])


def _joints(options: Mapping[str, Any], resolve: Callable[[str], str], now_ns: Callable[[], int]) -> CommandKind:
    take = joint_guard(options)
    if take["message"] == TRAJECTORY and not HAS_TRAJECTORY_MSGS:
        raise MissingMessageError(
            "joints.message is JointTrajectory, and trajectory_msgs is not installed: install it "
            "(ros-<distro>-trajectory-msgs) in the profile's base image"
        )
    topic = resolve(take["measured"])
    measured = MeasuredJoints(topic, rules_of(options), now_ns)
    motion = JointMotion(JointLimits.of(options), measured)
    kind, fill = _joint_message(take)
    return CommandKind(
        "joints", JointCommand, CommandGuard(motion, timing_of(options)), kind, fill, take["other_publishers"],
        "is its controller loaded and configured (ros2 control list_controllers)?", topic, measured, motion,
    )  # fmt: skip


def _joint_message(take: Mapping[str, Any]) -> tuple[type[Any], Fill]:
    if take["message"] == COMMANDS:
        return Float64MultiArray, ArrayFill()
    if take["message"] == TRAJECTORY:
        return JointTrajectory, TrajectoryFill(take["joints"], take["time_from_start"])
    return JointState, JointStateFill(take["joints"], take["interface"])


class TwistFill:
    """A velocity as Twist or TwistStamped."""

    def __init__(self, message: Twist | TwistStamped, frame_id: str, *, keeps_stamp: bool) -> None:
        self._message, self._frame_id, self._keeps_stamp = message, frame_id, keeps_stamp
        self._twist = message.twist if isinstance(message, TwistStamped) else message

    def __call__(self, velocity: Velocity, frame: Any, now_ns: int) -> Any:
        """Fill the message."""
        twist = self._twist
        twist.linear.x, twist.linear.y, twist.linear.z = velocity.linear
        twist.angular.x, twist.angular.y, twist.angular.z = velocity.angular
        if isinstance(self._message, TwistStamped):
            head = self._message.header
            if self._keeps_stamp and isinstance(frame, Stamp):
                head.stamp.sec, head.stamp.nanosec = frame.sec, frame.nanosec
            else:
                head.stamp.sec, head.stamp.nanosec = divmod(now_ns, 1_000_000_000)
            head.frame_id = self._frame_id
        return self._message


class ArrayFill:
    """As a forward_command_controller takes it: the values alone, in the order of the controller's joints."""

    def __init__(self) -> None:
        self._message = Float64MultiArray()

    def __call__(self, command: JointCommand, frame: Any, now_ns: int) -> Any:
        """Fill the message."""
        del frame, now_ns
        self._message.data = array.array("d", command.values.tolist())
        return self._message


class TrajectoryFill:
    """As a joint_trajectory_controller takes it: one point, to be reached ``time_from_start`` after it is received.

    A stamp of 0 means "from now on" there; one of this moment would be in the past when it arrives, and a trajectory
    that ends in the past is dropped.
    """

    def __init__(self, joints: tuple[str, ...], time_from_start: float) -> None:
        self._point = JointTrajectoryPoint()
        whole = round(time_from_start * 1e9)
        self._point.time_from_start = Duration(sec=whole // 1_000_000_000, nanosec=whole % 1_000_000_000)
        self._message = JointTrajectory(joint_names=list(joints))

    def __call__(self, command: JointCommand, frame: Any, now_ns: int) -> Any:
        """Fill the message."""
        del frame, now_ns
        self._point.positions = array.array("d", command.values.tolist())
        self._message.points = [self._point]
        return self._message


class JointStateFill:
    """As simulators take it: names, and the values of one interface; the others stay empty."""

    def __init__(self, joints: tuple[str, ...], interface: str) -> None:
        self._message = JointState(name=list(joints))
        self._field = interface  # they have the fields' names

    def __call__(self, command: JointCommand, frame: Any, now_ns: int) -> Any:
        """Fill the message."""
        del frame
        stamp = self._message.header.stamp
        stamp.sec, stamp.nanosec = divmod(now_ns, 1_000_000_000)
        setattr(self._message, self._field, array.array("d", command.values.tolist()))
        return self._message
