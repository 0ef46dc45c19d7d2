"""How old a frame is by two clocks, and how a publisher's other clock is said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.contract.node.runtime_config import InputBinding, JoinRule, ModelRuntime, OutputBinding
from runtime.executor.inputs.frame_clock import (
    AHEAD_S,
    BEHIND_S,
    CLOCK_AHEAD,
    CLOCK_BEHIND,
    FrameClocks,
    age_s,
    ahead_s,
    behind_limit_s,
)
from runtime.executor.inputs.frames import Stamp

S = 1_000_000_000


def stamped(seconds: float, arrived_s: float = 0.0) -> Stamp:
    ns = round(seconds * S)
    return Stamp(ns // S, ns % S, "cam", arrived_s)


@pytest.mark.parametrize(
    ("stamp", "now_s", "steady_s", "age"),
    [
        (stamped(10.0), 10.4, 99.0, 0.4),
        (stamped(3610.0, 98.0), 10.0, 99.0, 1.0),  # ahead: since it arrived
        (stamped(10.0, 98.9), 10.4, 99.0, 0.4),  # it was under way for longer
        (stamped(10.0, 95.0), 10.0, 99.0, 4.0),  # a paused simulation
        (stamped(0.0, 98.0), 10.0, 99.0, 1.0),  # not stamped
        (stamped(0.0), 10.0, 99.0, 0.0),
    ],
)
def test_a_frame_is_as_old_as_its_stamp_or_its_arrival_says(
    stamp: Stamp, now_s: float, steady_s: float, age: float
) -> None:
    assert age_s(stamp, round(now_s * S), steady_s) == pytest.approx(age)


@given(st.floats(-1e9, 1e10), st.floats(0, 1e9), st.floats(0, 1e10), st.floats(0, 1e9))
def test_no_age_is_negative_nor_less_than_since_its_arrival(
    seconds: float, arrived_s: float, now_s: float, later_s: float
) -> None:
    age = age_s(stamped(seconds, arrived_s), round(now_s * S), arrived_s + later_s)
    assert age >= 0.0
    assert not arrived_s or age >= (arrived_s + later_s) - arrived_s


def test_ahead_counts_beyond_what_clocks_differ_by() -> None:
    assert ahead_s(stamped(10.0 + AHEAD_S), 10 * S) == 0.0
    assert ahead_s(stamped(12.0), 10 * S) == pytest.approx(2.0)
    assert ahead_s(stamped(0.0), -10 * S) == 0.0


def test_another_clock_is_counted_and_said_with_the_cure_until_it_fits() -> None:
    clocks = FrameClocks({"image": "/cam", "scan": "/scan"}, 0.4)
    clocks.arrived("image", stamped(5.0), 100 * S)
    clocks.arrived("scan", stamped(3700.0), 100 * S)
    behind, ahead = clocks.notes
    assert behind.startswith("/cam: stamps are 95.000 s behind the robot's clock when they arrive, 0.4 s is the most")
    assert ahead.startswith("/scan: stamps are 3600.000 s ahead of the robot's clock")
    assert all(said.endswith("or declare `stamp: arrival` for this input") for said in (behind, ahead))
    assert clocks.counts == {CLOCK_AHEAD: 1, CLOCK_BEHIND: 1}
    clocks.arrived("image", stamped(99.9), 100 * S)
    clocks.arrived("scan", stamped(0.0), 100 * S)
    assert clocks.notes == ()
    assert clocks.counts == {CLOCK_AHEAD: 1, CLOCK_BEHIND: 1}


def test_the_tightest_of_deadline_and_max_age_says_what_is_behind() -> None:
    def limit(max_age_s: float | None, *options: dict[str, object]) -> float:
        outputs = tuple(OutputBinding("y", f"/{index}", "own:one", given) for index, given in enumerate(options))
        inputs = (InputBinding("x", "/in", "sensor_msgs/msg/Image"),)
        return behind_limit_s(ModelRuntime("m", "fp32", "k", inputs, outputs, join=JoinRule(max_age_s=max_age_s)))

    velocity = {
        "max_linear": 1, "max_angular": 1, "max_linear_acceleration": 1, "max_angular_acceleration": 1,
        "deadline": "300ms", "of": "its own",
    }  # fmt: skip
    assert limit(None) == BEHIND_S
    assert limit(2.0) == 2.0
    assert limit(2.0, velocity) == 0.3
    assert limit(0.1, velocity, {}) == 0.1
    assert limit(None, {"max_linear": "wrong"}) == BEHIND_S
