"""Whatever a model says and whenever: no command over the limits, none that outlives its frame, zero after a stop."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.contract.node.health import DRIVE
from runtime.decoding.decoders import OptionError, Velocity
from runtime.executor.outputs.command_guard import HOLD, MAX_STEPS, STOPPED
from runtime.executor.outputs.velocity_guard import ZERO, VelocityGuard, VelocityLimits
from tests.unit.examples import examples

OPTIONS = {"max_linear": 0.5, "max_angular": 1.0, "max_linear_acceleration": 1.0, "max_angular_acceleration": 2.0}
LIMITS = VelocityLimits.of({**OPTIONS, "deadline": "300ms"})
HOLDING = VelocityLimits.of({**OPTIONS, "deadline": "300ms", "on_failure": "hold", "hold_for": "200ms"})
PERIOD = 0.05


def ahead(speed: float, turn: float = 0.0) -> Velocity:
    return Velocity((speed, 0.0, 0.0), (0.0, 0.0, turn))


def started(limits: VelocityLimits = LIMITS, now: float = 0.0) -> VelocityGuard:
    guard = VelocityGuard(limits)
    guard.start(now)
    return guard


def cruising(limits: VelocityLimits) -> VelocityGuard:
    """At 0.5 m/s, the last result at 1.0 s."""
    guard = started(limits)
    for step in range(21):
        guard.accept(step * PERIOD, ahead(0.5))
        guard.tick(step * PERIOD)
    assert guard.tick(1.0).value == ahead(0.5)
    return guard


# ── properties ──

NUMBER = st.one_of(st.floats(-3, 3), st.sampled_from([0.0, math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324]))
VECTOR = st.tuples(NUMBER, NUMBER, NUMBER)
EVENT = st.tuples(
    st.floats(-0.1, 0.4),
    st.sampled_from(["accept", "accept", "fail", "tick", "tick", "tick", "start", "stop"]),
    st.builds(Velocity, VECTOR, VECTOR),
    st.one_of(st.floats(-1, 1), st.sampled_from([0.0, math.nan, math.inf])),
    st.one_of(st.none(), st.integers(0, 3)),
)
SETTINGS = st.builds(
    VelocityLimits,
    max_linear=st.sampled_from([0.0, 5e-324, 0.5, 2.0]),
    max_angular=st.sampled_from([0.0, 1.0]),
    max_linear_acceleration=st.sampled_from([0.001, 1.0, 100.0]),
    max_angular_acceleration=st.sampled_from([0.5, 100.0]),
    deadline=st.sampled_from([0.05, 0.3]),
    hold_for=st.sampled_from([0.0, 0.2]),
    period=st.just(PERIOD),
)


class Watch:
    """What must hold, kept by other means than the guard's own."""

    def __init__(self, limits: VelocityLimits) -> None:
        self.limits, self.guard = limits, VelocityGuard(limits)
        self.now = 0.0
        self.running = False
        self.lives_until = -math.inf
        """The latest moment at which anything but zero may be commanded."""
        self.births: dict[Any, float] = {}
        self.before, self.ticked = ZERO, -math.inf

    def event(self, step: float, kind: str, wanted: Velocity, age: float, frame: Any) -> None:
        now = self.now + step  # may go back: a clock that does must not lengthen anything
        self.now = max(self.now, now)
        if kind == "accept":
            self.guard.accept(now, wanted, frame, age)
            if all(map(math.isfinite, (*wanted.linear, *wanted.angular))):
                self.lives_until = max(self.lives_until, self.now + self.limits.deadline + self.limits.hold_for)
        elif kind == "fail":
            self.guard.fail(now, "told to")
            self.lives_until = min(self.lives_until, self.now + self.limits.hold_for)
        elif kind == "tick":
            self.look(now)
        else:
            self.running = kind == "start"
            self.guard.start(now) if self.running else self.guard.stop()
            self.lives_until, self.before, self.ticked = -math.inf, ZERO, self.now

    def look(self, now: float) -> None:
        command = self.guard.tick(now)
        linear, angular = command.value.linear, command.value.angular
        assert math.hypot(*linear) <= self.limits.max_linear
        assert math.hypot(*angular) <= self.limits.max_angular
        if not self.running or self.now >= self.lives_until:
            assert command.value == ZERO
            assert command.state == STOPPED
        if command.value != ZERO:
            passed = min(self.now - self.ticked, MAX_STEPS * PERIOD)
            for after, before, most in (
                (linear, self.before.linear, self.limits.max_linear_acceleration),
                (angular, self.before.angular, self.limits.max_angular_acceleration),
            ):
                assert math.dist(after, before) <= most * passed + 1e-9
        assert (command.state == DRIVE) == (command.reason == "")
        self.before, self.ticked = command.value, self.now


@examples(120)
@given(SETTINGS, st.lists(EVENT, max_size=60))
def test_whatever_happens_the_bounds_hold(limits: VelocityLimits, events: list[Any]) -> None:
    watch = Watch(limits)
    watch.event(0.0, "start", ZERO, 0.0, None)
    for event in events:
        watch.event(*event)
    # The later of two sums of the same three numbers: which is rounded up depends on their order.
    watch.now = max(watch.now + limits.deadline + limits.hold_for, watch.lives_until)
    watch.look(watch.now)
    assert watch.before == ZERO


@examples(60)
@given(st.lists(st.floats(0.0, 0.2), min_size=1, max_size=30), st.sampled_from([LIMITS, HOLDING]))
def test_a_silent_camera_is_not_a_fresh_one(steps: list[float], limits: VelocityLimits) -> None:
    """A model that runs again and again on one frame drives no longer than one that ran once."""
    guard = started(limits)
    now = 0.0
    for step in steps:
        guard.accept(now, ahead(0.5), frame="the only one")
        now += step
        if now >= limits.deadline + limits.hold_for:
            assert guard.tick(now).value == ZERO


# ── by hand ──


def test_it_speeds_up_within_the_acceleration_and_keeps_the_curve_within_the_limits() -> None:
    guard = started()
    speeds = []
    for step in range(16):
        guard.accept(step * PERIOD, ahead(2.0, 1.0))  # four times too fast: turns four times slower, too
        command = guard.tick(step * PERIOD)
        speeds.append(command.value.linear[0])
    assert speeds[:4] == pytest.approx([0.0, 0.05, 0.1, 0.15])
    assert speeds[-1] == pytest.approx(0.5)
    assert command.value.angular[2] == pytest.approx(0.25)


def test_a_late_tick_is_no_leap() -> None:
    guard = started()
    guard.tick(0.0)
    guard.accept(9.9, ahead(0.5))
    assert guard.tick(10.0).value.linear[0] == pytest.approx(1.0 * MAX_STEPS * PERIOD)


def test_zero_at_the_deadline_and_on_again_with_the_next_result() -> None:
    guard = cruising(LIMITS)
    assert guard.tick(1.299).state == DRIVE
    stopped = guard.tick(1.3)
    assert (stopped.value, stopped.state) == (ZERO, STOPPED)
    assert stopped.reason == "no good result from a new frame for 0.3 s"
    guard.accept(2.0, ahead(0.5))
    assert guard.tick(2.0).state == DRIVE


def test_zero_at_once_on_failure() -> None:
    guard = cruising(LIMITS)
    guard.fail(1.01, "cuda says no")
    command = guard.tick(1.02)
    assert (command.value, command.state, command.reason) == (ZERO, STOPPED, "cuda says no")


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_result_that_is_no_number_is_a_failure(number: float) -> None:
    guard = cruising(LIMITS)
    guard.accept(1.01, ahead(0.1, number))
    assert guard.tick(1.02).reason == "the result is not a finite number"


def test_hold_goes_on_for_its_time_and_failures_do_not_extend_it() -> None:
    guard = cruising(HOLDING)
    guard.fail(1.0, "first")
    guard.fail(1.15, "second")
    held = guard.tick(1.19)
    assert (held.value, held.state, held.reason) == (ahead(0.5), HOLD, "second")
    assert guard.tick(1.2).value == ZERO


def test_hold_begins_at_the_deadline_when_nothing_was_said() -> None:
    guard = cruising(HOLDING)
    assert guard.tick(1.4).state == HOLD
    assert guard.tick(1.5).state == STOPPED


def test_a_hold_that_nobody_looked_at_is_over_in_time() -> None:
    guard = cruising(HOLDING)
    guard.fail(3.0, "long after the deadline")
    assert guard.tick(3.01).value == ZERO


def test_an_old_frame_is_a_failure_and_shortens_what_is_left() -> None:
    guard = started()
    guard.accept(0.0, ahead(0.5), age=0.35)
    assert guard.tick(0.01).reason == "the frame is 0.350 s old, its deadline is 0.3 s"
    guard.accept(0.1, ahead(0.5), age=0.25)
    assert guard.tick(0.14).state == DRIVE
    assert guard.tick(0.151).state == STOPPED


def test_a_limit_of_zero_switches_an_axis_off_and_not_the_robot() -> None:
    guard = started(replace(LIMITS, max_angular=0.0))
    guard.accept(0.0, ahead(0.05, 1.0))
    assert guard.tick(0.1).value == ahead(0.05)


def test_nothing_moves_before_the_first_result_nor_between_two_lives() -> None:
    guard = started()
    assert guard.tick(0.1).reason == "no result yet"
    guard = cruising(HOLDING)
    guard.stop("deactivated")
    guard.accept(1.1, ahead(0.5))
    assert guard.tick(1.1) == replace(guard.tick(1.1), value=ZERO, state=STOPPED, reason="deactivated")
    guard.start(1.2)
    assert guard.tick(1.2).value == ZERO


def test_limits_come_from_options_that_must_be_there() -> None:
    assert LIMITS.hold_for == 0.0  # only where on_failure is hold
    assert HOLDING.hold_for == 0.2
    with pytest.raises(OptionError, match="velocity needs max_angular: give a number from 0 to 50 rad/s"):
        VelocityLimits.of({"max_linear": 1.0})
