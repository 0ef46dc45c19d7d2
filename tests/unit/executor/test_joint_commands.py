"""Joints: no command over a limit, none on what is not measured, none that outlives its frame, no undeclared zero."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.contract.node.commands import joint_guard
from runtime.contract.node.health import DRIVE
from runtime.contract.node.options import OptionError
from runtime.decoding.decoders import JointCommand, View, decoder_named
from runtime.executor.outputs.command_guard import HOLD, MAX_STEPS, NO_RESULT_YET, STOPPED, CommandGuard
from runtime.executor.outputs.joint_motion import JointLimits, JointMotion, rules_of, timing_of
from runtime.executor.outputs.measured_joints import STEADY_S, MeasuredJoints
from tests.unit.examples import examples
from tests.unit.executor.joint_messages import EFFORT, JOINTS, POSITION, SPEED, joint_state

pytestmark = pytest.mark.filterwarnings("ignore:module 'sre_parse'", "ignore:module 'sre_constants'")  # of a dependency

PERIOD = 0.02


class Joints:
    """A guard with its measurements, on a clock that begins at 100 s."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.now = 100.0
        self.measured = MeasuredJoints("/joint_states", rules_of(options), lambda: int(self.now * 1e9))
        self.motion = JointMotion(JointLimits.of(options), self.measured)
        self.guard = CommandGuard(self.motion, timing_of(options))

    def measure(self, *position: float, velocity: tuple[float, ...] = (0.0, 0.0), **other: Any) -> None:
        self.measured.take(joint_state(position, velocity, **other), self.now)

    def want(self, *values: float) -> None:
        self.guard.accept(self.now, JointCommand(np.array(values)))

    def tick(self, step: float = PERIOD) -> tuple[list[float] | None, str]:
        self.now += step
        command = self.guard.tick(self.now)
        self.reason = command.reason
        return None if command.value is None else command.value.values.round(9).tolist(), command.state

    def start(self) -> Joints:
        self.guard.start(self.now)
        return self


def driving(options: dict[str, Any], *wanted: float) -> Joints:
    """One that was at rest at (0.1, 0.2), and got one result."""
    one = Joints(options).start()
    one.measure(0.1, 0.2)
    one.want(*wanted)
    return one


def test_the_first_position_ramps_from_what_is_measured() -> None:
    one = driving(POSITION, 0.5, -0.5)
    assert one.tick() == ([0.14, 0.16], DRIVE)
    assert one.tick() == ([0.18, 0.12], DRIVE)


@pytest.mark.parametrize("options", [POSITION, EFFORT])
def test_nothing_is_sent_before_the_first_result(options: dict[str, Any]) -> None:
    one = Joints(options).start()
    one.measure(0.1, 0.2)
    assert one.tick() == (None, STOPPED)
    assert one.reason == NO_RESULT_YET


def test_what_is_held_is_the_measured_position_of_that_moment() -> None:
    one = driving(POSITION, 0.5, -0.5)
    one.tick()
    one.guard.fail(one.now, "NaN")
    one.measure(0.12, 0.19)
    assert one.tick() == ([0.12, 0.19], HOLD)
    one.measure(0.11, 0.15)  # it sags: what is held stays
    assert one.tick() == ([0.12, 0.19], HOLD)
    assert one.reason == "NaN"
    one.want(0.5, 0.5)
    assert one.tick() == ([0.16, 0.23], DRIVE)


def test_a_position_that_is_not_held_is_published_no_more_and_begins_anew() -> None:
    one = driving({**POSITION, "on_failure": "stop_publishing"}, 0.5, -0.5)
    one.tick()
    one.guard.fail(one.now, "NaN")
    assert one.tick() == (None, STOPPED)
    one.measure(-0.2, 0.0)
    one.want(0.5, 0.5)
    assert one.tick() == ([-0.16, 0.04], DRIVE)


def test_the_last_command_goes_on_for_as_long_as_declared() -> None:
    one = driving({**POSITION, "hold_for": "50ms"}, 0.1, 0.2)
    assert one.tick() == ([0.1, 0.2], DRIVE)
    one.measure(0.0, 0.0)
    one.guard.fail(one.now, "NaN")
    assert one.tick() == ([0.1, 0.2], HOLD)
    assert one.tick(0.04) == ([0.0, 0.0], HOLD)


def test_velocities_ramp_from_the_measured_one_and_are_zero_without_a_result() -> None:
    one = Joints(SPEED).start()
    assert one.tick() == ([0.0, 0.0], STOPPED)
    one.measure(0.1, 0.2, velocity=(0.5, -0.5))
    one.want(9.0, -9.0)
    assert one.tick() == ([0.58, -0.58], DRIVE)
    assert one.motion.limited_count == 1
    one.guard.fail(one.now, "NaN")
    assert one.tick() == ([0.0, 0.0], STOPPED)


def test_velocities_do_not_move_a_joint_beyond_its_position_limits() -> None:
    one = Joints({**SPEED, "min_position": -1.0, "max_position": 1.0}).start()
    one.measure(1.01, -1.01)
    one.want(1.0, 1.0)
    assert one.tick() == ([0.0, 0.08], DRIVE)
    assert one.motion.said == "hip is at the limit of its position: its velocity is not commanded further"


def test_efforts_are_damped_by_the_measured_velocity() -> None:
    one = driving(EFFORT, 50.0, 1.0)
    assert one.tick() == ([2.0, 1.0], DRIVE)
    one.guard.fail(one.now, "NaN")
    one.measure(0.1, 0.2, velocity=(1.0, -2.0))
    assert one.tick() == ([-2.0, 8.0], HOLD)
    one.measure(0.1, 0.2, velocity=(-9.0, 0.0))
    assert one.tick() == ([10.0, 0.0], HOLD)


def test_efforts_do_not_speed_up_a_joint_that_is_too_fast() -> None:
    one = driving(EFFORT, 10.0, 10.0)
    one.tick()
    one.measure(0.1, 0.2, velocity=(3.5, -3.5))  # the second one is braked by its command
    assert one.tick() == ([-7.0, 4.0], DRIVE)
    assert one.motion.said == "hip is faster than 3: its effort is not commanded further"


@pytest.mark.parametrize(
    ("options", "last"),
    [(POSITION, [0.1, 0.2]), ({**POSITION, "on_failure": "stop_publishing"}, None), (SPEED, [0.0, 0.0]),
     (EFFORT, [0.0, 0.0]), ({**EFFORT, "when_stopped": "keep"}, None)],
)  # fmt: skip
def test_the_last_command_is_what_is_declared(options: dict[str, Any], last: list[float] | None) -> None:
    one = driving(options, 0.5, 0.5)
    assert one.tick()[1] == DRIVE
    one.guard.stop("deactivated")
    assert one.tick() == (last, STOPPED)
    assert one.reason == "deactivated"


@pytest.mark.parametrize(("options", "sent"), [(POSITION, None), (SPEED, [0.0, 0.0]), (EFFORT, [0.0, 0.0])])
def test_a_stale_measurement_is_no_ground_to_command_on(options: dict[str, Any], sent: list[float] | None) -> None:
    one = driving({**options, "deadline": "5s"}, 0.5, -0.5)
    assert one.tick()[1] == DRIVE
    assert one.tick(0.2) == (sent, STOPPED)
    assert one.reason == "the newest measurement on /joint_states is 0.220 s old, 0.2 s is the most"
    one.measure(-0.5, 0.0)
    value, state = one.tick()
    assert state == DRIVE
    if options is POSITION:
        assert value == [-0.46, -0.04]  # from what is measured now


def test_a_jump_of_a_measured_position_stops_until_it_is_steady() -> None:
    one = driving({**POSITION, "deadline": "10s"}, 0.5, -0.5)
    assert one.tick()[1] == DRIVE
    one.measure(0.1, -1.0)
    assert one.tick() == (None, STOPPED)
    assert one.reason.startswith("the measured position of knee jumped from 0.2 to -1 (max_jump is 0.5): no command")
    assert one.measured.refused == 1
    for _ in range(int(STEADY_S / 0.1) - 1):
        one.measure(0.1, -1.0)
        assert one.tick(0.1)[1] == STOPPED
    one.measure(0.1, -1.0)
    assert one.tick(0.1)[1] == DRIVE


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (lambda: joint_state([0.0], [0.0], ["hip"]), "no joint is called knee; the message has hip: correct joints"),
        (
            lambda: joint_state([0.0, 0.0, 0.0], [0.0] * 3, ["hip", "knee", "hip"]),
            "joint hip is named twice in one message",
        ),
        (lambda: joint_state([0.0], [0.0, 0.0]), "1 values of position for 2 joints"),
        (lambda: joint_state([0.0, math.nan]), "the position of knee is nan: no joint has that"),
        (lambda: joint_state([0.0, 0.0], [0.0, math.inf]), "the velocity of knee is inf: no joint has that"),
        (lambda: joint_state([0.0, 0.0], []), "0 values of velocity for 2 joints"),
        (lambda: joint_state([0.0, 0.0], stamp_s=101.0), "stamps are 1.000 s ahead of the robot's clock"),
        (lambda: joint_state([0.0, 0.0], stamp_s=42.0), "stamps are 58.000 s behind the robot's clock"),
        (lambda: joint_state([0.0, 0.0])[:-9], "cut short or garbled"),
        (lambda: b"", "not a plain CDR message"),
    ],
)
def test_a_measurement_that_is_refused_is_counted_and_said(message: Callable[[], bytes], said: str) -> None:
    one = Joints(EFFORT).start()
    one.measured.take(message(), one.now)
    one.want(1.0, 1.0)
    assert one.tick() == (None, STOPPED)
    assert said in one.reason
    assert one.measured.refused == 1


def test_a_velocity_that_is_not_needed_may_be_missing() -> None:
    one = Joints(POSITION).start()
    one.measured.take(joint_state([0.1, 0.2], []), one.now)
    one.want(0.1, 0.2)
    assert one.tick() == ([0.1, 0.2], DRIVE)


def test_a_publisher_whose_clock_is_not_the_robots_counts_by_arrival_where_that_is_declared() -> None:
    one = Joints({**POSITION, "measured_stamp": "arrival"}).start()
    one.measure(0.1, 0.2, stamp_s=1e6)
    one.want(0.1, 0.2)
    assert one.tick()[1] == DRIVE


def test_states_of_another_part_of_the_robot_are_no_measurement_and_no_error() -> None:
    one = Joints(POSITION).start()
    one.measured.take(joint_state([0.0], [0.0], ["gripper"]), one.now)
    one.tick()
    assert one.reason == "/joint_states has other joints (gripper): correct joints, or measured"
    one.measure(0.1, 0.2)
    one.measured.take(joint_state([0.0], [0.0], ["gripper"]), one.now)
    one.want(0.1, 0.2)
    assert one.tick()[1] == DRIVE
    assert one.measured.refused == 0


def test_two_publishers_of_the_same_joints_are_no_measurement() -> None:
    one = Joints(POSITION).start()
    for publisher in (b"a", b"b", b"a"):
        one.measured.take(joint_state([0.1, 0.2]), one.now, publisher)
        one.measured.take(joint_state([0.0], [0.0], ["gripper"]), one.now, b"c")
    one.want(0.1, 0.2)
    assert one.tick() == (None, STOPPED)
    assert one.reason == "/joint_states: 2 publishers measure the same joints: stop or remap all but one"


def test_a_publisher_that_takes_the_place_of_another_is_one() -> None:
    one = Joints(POSITION).start()
    for publisher in (b"a", b"a", b"b", b"b"):
        one.measured.take(joint_state([0.1, 0.2]), one.now, publisher)
    one.want(0.1, 0.2)
    assert one.tick()[1] == DRIVE


def test_names_decide_not_their_order() -> None:
    one = Joints(POSITION).start()
    one.measure(0.3, 0.2, 0.1, velocity=(0.0, 0.0, 0.0), names=("knee", "other", "hip"))
    one.want(0.1, 0.3)
    assert one.tick() == ([0.1, 0.3], DRIVE)


@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        (set(), "it has no publisher"),
        ({"std_msgs/msg/String"}, "it is published as std_msgs/msg/String, expected sensor_msgs/msg/JointState"),
        ({"sensor_msgs/msg/JointState"}, "it has a publisher"),
    ],
)
def test_who_does_not_measure_is_said(kinds: set[str], said: str) -> None:
    one = Joints(POSITION).start()
    one.measured.published_as(kinds)
    one.tick()
    assert one.reason.startswith("nothing arrives on /joint_states")
    assert said in one.reason


def test_a_joint_far_outside_its_limits_is_not_commanded() -> None:
    one = Joints(POSITION).start()
    one.measure(1.6, 0.2)
    one.want(0.5, 0.2)
    assert one.tick() == (None, STOPPED)
    assert one.reason.startswith("the measured position of hip is 1.6, outside its limits -1 to 1")
    one.measure(1.3, 0.2)  # as far as a measurement may jump: at its end
    assert one.tick() == ([0.96, 0.2], DRIVE)


def test_a_result_over_a_limit_is_cut_and_counted_or_refused() -> None:
    one = driving(POSITION, 3.0, 0.2)
    for _ in range(60):
        one.measure(0.1, 0.2)
        one.want(3.0, 0.2)
        value, _ = one.tick()
    assert value == [1.0, 0.2]
    assert one.motion.limited_count == 61
    assert one.motion.said == "the command of hip is 3, its limits are -1 to 1"
    one = driving({**POSITION, "over_limit": "refuse"}, 3.0, 0.2)
    assert one.tick() == (None, STOPPED)
    assert one.reason == "the command of hip is 3, its limits are -1 to 1: refused (over_limit)"


def test_actions_are_scaled_and_offset_by_joint() -> None:
    decode = decoder_named("joints", {**POSITION, "scale": 0.25, "offset": [0.1, -0.5]})
    assert decode(np.array([[1.0, -2.0]], np.float32), View(0, 0)).values.tolist() == [0.35, -1.0]  # type: ignore[union-attr]
    with pytest.raises(ValueError, match=r"joints needs 2 numbers, one for each joint, the output has shape \[1, 3\]"):
        decode(np.zeros((1, 3), np.float32), View(0, 0))
    with pytest.raises(ValueError, match="the action of knee is nan, not a finite number"):
        decode(np.array([0.0, math.nan], np.float32), View(0, 0))


@pytest.mark.parametrize(
    ("base", "change", "said"),
    [
        (POSITION, {"joints": []}, "joints.joints names no joint, or one twice"),
        (POSITION, {"joints": ["hip", "hip"]}, "joints.joints names no joint, or one twice"),
        (POSITION, {"max_velocity": [1.0, 2.0, 3.0]}, "joints.max_velocity has 3 numbers for 2 joints"),
        (POSITION, {"max_velocity": 0.0}, "joints.max_velocity is 0.0: give a number from 0.0001"),
        (POSITION, {"max_velocity": []}, "joints.max_velocity is []"),
        (POSITION, {"max_velocity": None}, "joints.max_velocity is None"),
        (POSITION, {"max_jump": [0.1, "x"]}, "joints.max_jump is [0.1, 'x']"),
        (POSITION, {"min_position": ...}, "joints with interface: position needs min_position"),
        (POSITION, {"min_position": 1.0}, "joints.max_position of hip is 1, and its min_position 1"),
        (POSITION, {"on_failure": ...}, "joints with interface: position needs on_failure: give hold_position or stop"),
        (POSITION, {"on_failure": "zero"}, "joints.on_failure is 'zero': with interface: position it is hold_position"),
        (POSITION, {"damping": 1.0}, "joints.damping is not for interface: position"),
        (POSITION, {"measured": ...}, "joints needs measured: give a string"),
        (POSITION, {"measured": "joint states"}, "joints.measured is 'joint states': give the topic"),
        (POSITION, {"max_jump": ...}, "joints needs max_jump"),
        (POSITION, {"deadline": "10ms"}, "joints.deadline is 0.01 s, shorter than a period of 50 Hz"),
        (POSITION, {"message": "JointTrajectory"}, "joints with message: JointTrajectory needs time_from_start"),
        (POSITION, {"time_from_start": "40ms"}, "joints.time_from_start is not for message: Float64MultiArray"),
        (SPEED, {"message": "JointTrajectory", "time_from_start": "40ms"}, "it is for interface: position"),
        (SPEED, {"max_acceleration": ...}, "joints with interface: velocity needs max_acceleration"),
        (SPEED, {"min_position": -1.0}, "joints needs max_position: give both limits, or neither"),
        (SPEED, {"on_failure": "hold_position"}, "joints.on_failure is 'hold_position': with interface: velocity"),
        (EFFORT, {"damping": ...}, "joints with interface: effort needs damping"),
        (EFFORT, {"when_stopped": ...}, "joints with interface: effort needs when_stopped: give zero or keep"),
    ],
)
def test_options_that_are_wrong_or_missing_are_named(base: dict[str, Any], change: dict[str, Any], said: str) -> None:
    options = {key: value for key, value in {**base, **change}.items() if value is not ...}
    with pytest.raises(OptionError) as caught:
        joint_guard(options)
    assert said in str(caught.value)


def test_the_position_of_an_action_of_zero_is_within_the_limits() -> None:
    with pytest.raises(OptionError, match=r"joints.offset of knee is 0.7, outside its limits -2 to 0.5"):
        decoder_named("joints", {**POSITION, "offset": [0.0, 0.7]})


# ── properties ──

NUMBER = st.one_of(st.floats(-3, 3), st.sampled_from([0.0, math.nan, math.inf, -math.inf, 1e308, -1e308]))
EVENT = st.tuples(
    st.floats(-0.05, 0.3),
    st.sampled_from(["want", "want", "fail", "tick", "tick", "measure", "measure", "start", "stop"]),
    st.tuples(NUMBER, NUMBER),
    st.tuples(NUMBER, NUMBER),
)


class Watch:
    """What must hold, kept by other means than the guard's own."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.one, self.options = Joints(options), options
        self.lives_until = self.measured_until = -math.inf
        self.before: Any = None
        self.ticked = self.one.now

    def event(self, step: float, kind: str, first: tuple[float, ...], second: tuple[float, ...]) -> None:
        one = self.one
        one.now += max(0.0, step)
        if kind == "want":
            one.want(*first)
            self.lives_until = one.now + 0.1 if all(map(math.isfinite, first)) else self.lives_until
        elif kind == "fail":
            one.guard.fail(one.now, "told to")
            self.lives_until = -math.inf
        elif kind == "measure":
            one.measure(*first, velocity=second)
            needed = first if self.options is POSITION else (*first, *second)
            if all(abs(each) <= 1e6 for each in needed):
                self.measured_until = one.now + 0.2
        elif kind != "tick":
            one.guard.start(one.now) if kind == "start" else one.guard.stop()
            self.lives_until, self.before = -math.inf, None
        self.look()

    def look(self) -> None:
        one, limits = self.one, self.one.motion._limits
        command = one.guard.tick(one.now)
        drives = command.state == DRIVE
        assert drives == (command.reason == "")
        value: Any = None if command.value is None else command.value.values
        if value is not None:
            assert np.all((value >= limits.low) & (value <= limits.high))
        if drives:
            assert one.now < self.lives_until
            assert one.now <= self.measured_until
        if drives and self.before is not None and self.options is POSITION:
            most = limits.rate * min(one.now - self.ticked, MAX_STEPS * PERIOD)
            assert np.all(np.abs(value - self.before) <= most + 1e-9)
        self.before, self.ticked = (value if drives else None), one.now


@examples(120)
@given(st.sampled_from([POSITION, SPEED, EFFORT]), st.lists(EVENT, max_size=60))
def test_whatever_happens_the_bounds_hold(options: dict[str, Any], events: list[Any]) -> None:
    watch = Watch(options)
    for event in events:
        watch.event(*event)


def test_each_joint_has_its_own_limits() -> None:
    limits = JointLimits.of(POSITION)
    assert (limits.joints, limits.low.tolist(), limits.high.tolist()) == (JOINTS, [-1.0, -2.0], [1.0, 0.5])
