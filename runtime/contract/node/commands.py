"""What bounds a command on its way to the robot, whichever decoder it comes from: velocities and joint commands.

Interfaces and topics of joint commands are those of ros2_control: `forward_command_controller` takes
``std_msgs/Float64MultiArray`` on ``~/commands``, `joint_trajectory_controller` takes
``trajectory_msgs/JointTrajectory`` on ``~/joint_trajectory``. Stdlib only, Python 3.8.
"""

from __future__ import annotations

import re
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

from runtime.contract.node.options import OptionProblem, OptionSpec, read_with

POSITION, VELOCITY, EFFORT = "position", "velocity", "effort"
INTERFACES = (POSITION, VELOCITY, EFFORT)
HOLD_POSITION, STOP_PUBLISHING, ZERO, DAMPING = "hold_position", "stop_publishing", "zero", "damping"
COMMANDS, TRAJECTORY, JOINTS_MESSAGE = "Float64MultiArray", "JointTrajectory", "JointState"

_OTHERS = OptionSpec("other_publishers", "choice", "refuse", choices=("refuse", "warn", "allow"))
_TOPIC = re.compile(r"(?:~/|/)?[A-Za-z_][A-Za-z0-9_]*(?:/[A-Za-z_][A-Za-z0-9_]*)*")

GUARD_OPTIONS: Tuple[OptionSpec, ...] = (
    OptionSpec("max_linear", "number", None, 0.0, 50.0, unit="m/s"),
    OptionSpec("max_angular", "number", None, 0.0, 50.0, unit="rad/s"),
    OptionSpec("max_linear_acceleration", "number", None, 0.001, 100.0, unit="m/s²"),
    OptionSpec("max_angular_acceleration", "number", None, 0.001, 100.0, unit="rad/s²"),
    OptionSpec("deadline", "duration", 0.5, 0.01, 10.0),
    OptionSpec("on_failure", "choice", "zero", choices=("zero", "hold")),
    OptionSpec("hold_for", "duration", 0.2, 0.0, 5.0),
    OptionSpec("rate", "number", 20.0, 1.0, 200.0, unit="Hz"),
    OptionSpec("message", "choice", "TwistStamped", choices=("TwistStamped", "Twist")),
    OptionSpec("frame_id", "word", "base_link"),
    OptionSpec("stamp", "choice", "now", choices=("now", "input")),
    _OTHERS,
)
"""What bounds a velocity of the whole robot."""

JOINT_OPTIONS: Tuple[OptionSpec, ...] = (
    OptionSpec("joints", "words", None),
    OptionSpec("interface", "choice", None, choices=INTERFACES),
    OptionSpec("measured", "word", None),
    OptionSpec("max_jump", "each", None, 0.0001, 10000.0, unit="rad or m"),
    OptionSpec("measured_max_age", "duration", 0.2, 0.005, 10.0),
    OptionSpec("measured_stamp", "choice", "header", choices=("header", "arrival")),
    OptionSpec("min_position", "each", (), -10000.0, 10000.0, unit="rad or m"),
    OptionSpec("max_position", "each", (), -10000.0, 10000.0, unit="rad or m"),
    OptionSpec("max_velocity", "each", (), 0.0001, 1000.0, unit="rad/s or m/s"),
    OptionSpec("max_acceleration", "each", (), 0.0001, 100000.0, unit="rad/s² or m/s²"),
    OptionSpec("max_effort", "each", (), 0.0001, 100000.0, unit="Nm or N"),
    OptionSpec("max_effort_rate", "each", (), 0.0001, 10000000.0, unit="Nm/s or N/s"),
    OptionSpec("damping", "each", (), 0.0, 10000.0, unit="Nm s/rad or N s/m"),
    OptionSpec("on_failure", "choice", "", choices=(HOLD_POSITION, STOP_PUBLISHING, ZERO, DAMPING)),
    OptionSpec("when_stopped", "choice", "", choices=(ZERO, "keep")),
    OptionSpec("over_limit", "choice", "clip", choices=("clip", "refuse")),
    OptionSpec("deadline", "duration", 0.1, 0.005, 10.0),
    OptionSpec("hold_for", "duration", 0.0, 0.0, 5.0),
    OptionSpec("rate", "number", 50.0, 1.0, 500.0, unit="Hz"),
    OptionSpec("message", "choice", COMMANDS, choices=(COMMANDS, TRAJECTORY, JOINTS_MESSAGE)),
    OptionSpec("time_from_start", "duration", 0.0, 0.001, 10.0),
    _OTHERS,
)
"""What bounds commands of joints. ``each``: one number for all joints, or a list with one for each."""

NEEDED: Dict[str, Tuple[str, ...]] = {
    POSITION: ("min_position", "max_position", "max_velocity"),
    VELOCITY: ("max_velocity", "max_acceleration"),
    EFFORT: ("max_effort", "max_effort_rate", "max_velocity", "damping"),
}
"""What has no default, by interface: what is safe depends on the robot."""
_ONLY: Dict[str, Tuple[str, ...]] = {
    "max_acceleration": (VELOCITY,),
    "max_effort": (EFFORT,),
    "max_effort_rate": (EFFORT,),
    "damping": (EFFORT,),
    "when_stopped": (EFFORT,),
}
_ON_FAILURE: Dict[str, Tuple[str, ...]] = {
    POSITION: (HOLD_POSITION, STOP_PUBLISHING),
    VELOCITY: (ZERO,),
    EFFORT: (DAMPING,),
}


def is_velocity(options: Mapping[str, Any]) -> bool:
    """Say whether an output's options bound a velocity, whichever decoder it comes from."""
    return "max_linear" in options


def is_joints(options: Mapping[str, Any]) -> bool:
    """Say whether an output's options bound commands of joints, whichever decoder they come from."""
    return "interface" in options and "joints" in options


def velocity_guard(options: Mapping[str, Any], name: str = "velocity") -> Dict[str, Any]:
    """Return what bounds a velocity, with defaults; options of the decoder itself are left alone.

    Raises OptionError.
    """
    return read_with(name, GUARD_OPTIONS, _of(GUARD_OPTIONS, options), velocity_rules)


def joint_guard(options: Mapping[str, Any], name: str = "joints") -> Dict[str, Any]:
    """Return what bounds commands of joints, with defaults; options of the decoder itself are left alone.

    Raises OptionError.
    """
    return read_with(name, JOINT_OPTIONS, _of(JOINT_OPTIONS, options), joint_rules)


def deadline_of(options: Mapping[str, Any]) -> Optional[float]:
    """Return for how long a frame commands the robot, seconds; None for an output that commands nothing.

    Raises OptionError.
    """
    if is_velocity(options):
        return float(velocity_guard(options)["deadline"])
    return float(joint_guard(options)["deadline"]) if is_joints(options) else None


def each(value: Any, count: int) -> Tuple[float, ...]:
    """Return an option of kind ``each`` as one number a joint; empty where it was not given."""
    return tuple(value) if isinstance(value, tuple) else (float(value),) * count


def velocity_rules(values: Dict[str, Any]) -> List[OptionProblem]:
    """Find what is wrong between options of a velocity."""
    found: List[OptionProblem] = []
    axes, scale = values.get("axes"), values.get("scale")
    if axes is not None and (not axes or len(set(axes)) != len(axes)):
        found.append(OptionProblem("axes", "names no axis, or one twice", "give one axis for each output value"))
    if axes and scale and len(scale) != len(axes):
        hint = "give {} numbers, one for each axis".format(len(axes))
        found.append(OptionProblem("scale", "has {} numbers".format(len(scale)), hint))
    return found + _deadline(values)


def joint_rules(values: Dict[str, Any]) -> List[OptionProblem]:
    """Find what is wrong between options of joint commands."""
    joints = values["joints"]
    if not joints or len(set(joints)) != len(joints) or not all(joints):
        hint = "give the joints' names in the order of the output's values"
        return [OptionProblem("joints", "names no joint, or one twice", hint)]
    found = [*_counts(values, len(joints))]
    if found:
        return found
    return [*_belong(values), *_failures(values), *_bounds(values, joints), *_message(values), *_deadline(values)]


def topic_problem(topic: str, options: Mapping[str, Any]) -> Optional[Tuple[str, str]]:
    """Return what is wrong with an output's topic and what to do, by the names that ros2_control's controllers have."""
    if is_joints(options) and topic == options.get("measured"):
        message = "{} is what is measured of the joints: the output would hear itself".format(topic)
        return message, "give the topic that the controller or the simulator listens to"
    message = options.get("message", COMMANDS)
    expected = {"commands": COMMANDS, "joint_trajectory": TRAJECTORY}.get(topic.rpartition("/")[2], message)
    if not is_joints(options) or message in (expected, JOINTS_MESSAGE):
        return None
    return (
        "{} is a controller's topic for {}, and the message is {}".format(topic, expected, message),
        "declare message: {}, or the topic of the controller that takes {}".format(expected, message),
    )


def _of(specs: Tuple[OptionSpec, ...], options: Mapping[str, Any]) -> Dict[str, Any]:
    names = {spec.name for spec in specs}
    return {key: value for key, value in options.items() if key in names}


def _counts(values: Dict[str, Any], count: int) -> Iterator[OptionProblem]:
    for name, value in values.items():
        if isinstance(value, tuple) and name != "joints" and value and len(value) != count:
            hint = "give one number for all joints, or {}, one for each".format(count)
            yield OptionProblem(name, "has {} numbers for {} joints".format(len(value), count), hint)


def _belong(values: Dict[str, Any]) -> Iterator[OptionProblem]:
    interface = values["interface"]
    for name in NEEDED[interface]:
        if values[name] == ():
            hint = "give one number for all joints, or one for each: what is safe depends on the robot"
            yield OptionProblem(None, "with interface: {} needs {}".format(interface, name), hint)
    for name, interfaces in _ONLY.items():
        if values[name] not in ((), "") and interface not in interfaces:
            hint = "leave it out: with interface: {} the limits are {}".format(interface, ", ".join(NEEDED[interface]))
            yield OptionProblem(name, "is not for interface: {}".format(interface), hint)
    if interface == EFFORT and not values["when_stopped"]:
        hint = "give zero or keep: a controller keeps the last effort that it received"
        yield OptionProblem(None, "with interface: effort needs when_stopped", hint)


def _failures(values: Dict[str, Any]) -> Iterator[OptionProblem]:
    interface, given = values["interface"], values["on_failure"]
    known = _ON_FAILURE[interface]
    if not given and len(known) > 1:
        hint = "give {}".format(" or ".join(known))
        yield OptionProblem(None, "with interface: {} needs on_failure".format(interface), hint)
    elif given and given not in known:
        hint = "with interface: {} it is {}".format(interface, " or ".join(known))
        yield OptionProblem("on_failure", "is {!r}".format(given), hint)


def _bounds(values: Dict[str, Any], joints: Tuple[str, ...]) -> Iterator[OptionProblem]:
    low, high = (each(values[name], len(joints)) for name in ("min_position", "max_position"))
    if bool(low) != bool(high):
        missing = "max_position" if low else "min_position"
        if values["interface"] != POSITION:
            yield OptionProblem(None, "needs {}".format(missing), "give both limits, or neither")
        return
    offset = each(values.get("offset", ()), len(joints)) if values["interface"] == POSITION else ()
    for index, (least, most) in enumerate(zip(low, high)):  # noqa: B905 - Python 3.8
        if least >= most:
            message = "of {} is {:g}, and its min_position {:g}".format(joints[index], most, least)
            yield OptionProblem("max_position", message, "the larger limit is max_position")
        elif offset and not least <= offset[index] <= most:
            message = "of {} is {:g}, outside its limits {:g} to {:g}".format(joints[index], offset[index], least, most)
            yield OptionProblem("offset", message, "correct the limits, or the position of an action of 0")


def _message(values: Dict[str, Any]) -> Iterator[OptionProblem]:
    trajectory = values["message"] == TRAJECTORY
    if trajectory and values["interface"] != POSITION:
        yield OptionProblem("message", "is JointTrajectory", "it is for interface: position; give Float64MultiArray")
    if trajectory and not values["time_from_start"]:
        hint = "give the time in which the controller moves to each command, such as 40ms: two periods of the rate"
        yield OptionProblem(None, "with message: JointTrajectory needs time_from_start", hint)
    if values["time_from_start"] and not trajectory:
        hint = "leave it out, or declare message: JointTrajectory"
        yield OptionProblem("time_from_start", "is not for message: {}".format(values["message"]), hint)
    if not _TOPIC.fullmatch(values["measured"]):
        hint = "give the topic of the joints' states (sensor_msgs/msg/JointState), such as /joint_states"
        yield OptionProblem("measured", "is {!r}".format(values["measured"]), hint)


def _deadline(values: Dict[str, Any]) -> List[OptionProblem]:
    if values["deadline"] * values["rate"] >= 1.0:
        return []
    hint = "raise it above one period, or the rate above {:g} Hz".format(1.0 / values["deadline"])
    message = "is {:g} s, shorter than a period of {:g} Hz".format(values["deadline"], values["rate"])
    return [OptionProblem("deadline", message, hint)]
