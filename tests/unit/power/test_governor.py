"""The governor: what it does with heat and load, and what it never does, whatever it is shown."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.contract.robot.power import GovernorSettings
from runtime.power.governor import Decision, GovernorState, Limits, PowerSample, max_level, step

MODES = ("15W", "25W", "40W")
SETTINGS = GovernorSettings()
LIMITS = Limits(MODES, "25W", SETTINGS)

Trace = list[Decision]


def run(limits: Limits, samples: list[PowerSample], state: GovernorState | None = None) -> tuple[GovernorState, Trace]:
    state, trace = state or GovernorState(), []
    for sample in samples:
        state, decision = step(limits, state, sample)
        trace.append(decision)
    return state, trace


def steady(seconds: int, start: float = 0.0, **values: float | int | None) -> list[PowerSample]:
    return [PowerSample(start + second, **values) for second in range(seconds)]  # type: ignore[arg-type]


# ── the ladder ──


def test_cool_and_idle_is_the_resting_mode_and_every_frame() -> None:
    _, trace = run(LIMITS, steady(3600, temperature_c=60.0, load=0.5))
    assert set(trace) == {Decision("25W", 1.0, False, 0, 4, "")}


def test_heat_takes_frames_first_then_clock_then_refuses() -> None:
    _, trace = run(LIMITS, steady(60, temperature_c=90.0, load=0.5))
    changes = [trace[0]] + [after for before, after in pairwise(trace) if after.level != before.level]
    assert [(d.mode, d.rate, d.refuse) for d in changes] == [
        ("25W", 1.0, False), ("25W", 0.5, False), ("25W", 0.25, False), ("15W", 0.25, False), ("15W", 0.25, True),
    ]  # fmt: skip
    assert [trace.index(change) for change in changes] == [0, 10, 20, 30, 40]
    assert trace[-1].reason == "hot: 90 °C, limit 85 °C"


def test_it_comes_back_the_same_way_and_more_slowly() -> None:
    state, _ = run(LIMITS, steady(60, temperature_c=90.0))
    _, trace = run(LIMITS, steady(400, 60.0, temperature_c=70.0), state)
    changes = [after for before, after in pairwise(trace) if after.level != before.level]
    assert [(d.mode, d.rate, d.refuse) for d in changes] == [
        ("15W", 0.25, False), ("25W", 0.25, False), ("25W", 0.5, False), ("25W", 1.0, False),
    ]  # fmt: skip
    assert [trace.index(change) for change in changes] == [60, 120, 180, 240]


def test_between_the_temperatures_nothing_moves() -> None:
    state, hot = run(LIMITS, steady(15, temperature_c=90.0))
    assert hot[-1].level == 1
    _, trace = run(LIMITS, steady(3600, 15.0, temperature_c=82.0), state)
    assert {decision.level for decision in trace} == {1}
    assert trace[-1].reason == "cooling: 82 °C, limit 85 °C"


def test_critical_is_the_last_step_within_seconds_but_not_for_one_reading() -> None:
    _, once = run(LIMITS, [PowerSample(0.0, 99.0), PowerSample(1.0, 60.0), PowerSample(4.0, 60.0)])
    assert {decision.level for decision in once} == {0}
    _, trace = run(LIMITS, steady(5, temperature_c=99.0))
    assert [decision.refuse for decision in trace] == [False, False, False, True, True]
    assert trace[-1].mode == "15W"


def test_over_current_events_count_as_heat_and_are_forgotten() -> None:
    samples = [PowerSample(float(t), 60.0, None, 5 * t) for t in range(40)]
    state, trace = run(LIMITS, samples)
    assert trace[-1].level >= 1
    assert "over-current events a minute, limit 60" in trace[-1].reason
    _, after = run(LIMITS, steady(1200, 40.0, temperature_c=60.0, over_current_events=195), state)
    assert after[-1] == Decision("25W", 1.0, False, 0, 4, "")


def test_a_counter_that_begins_anew_is_no_event() -> None:
    _, trace = run(
        LIMITS, [PowerSample(0.0, 60.0, None, 10_000), *steady(60, 1.0, temperature_c=60.0, over_current_events=3)]
    )
    assert {decision.level for decision in trace} == {0}


def test_a_temperature_that_goes_away_is_not_a_cool_machine() -> None:
    state, _ = run(LIMITS, steady(25, temperature_c=90.0))
    _, trace = run(LIMITS, steady(3600, 25.0), state)
    assert {decision.level for decision in trace} == {2}
    assert trace[-1].reason == "hot at the last measurement; no temperature now"


def test_a_machine_without_any_temperature_still_recovers_from_over_current() -> None:
    state, trace = run(LIMITS, [PowerSample(float(t), None, None, 5 * t) for t in range(40)])
    assert trace[-1].level >= 1
    _, after = run(LIMITS, steady(1200, 40.0, over_current_events=195), state)
    assert after[-1].level == 0


# ── load ──


def test_load_takes_a_faster_mode_and_gives_it_back_but_never_below_rest() -> None:
    state, busy = run(LIMITS, steady(200, temperature_c=60.0, load=0.95))
    assert [decision.mode for decision in (busy[59], busy[60], busy[-1])] == ["25W", "40W", "40W"]
    assert busy[-1].reason == "busy: 1 modes above 25W"
    _, idle = run(LIMITS, steady(4000, 200.0, temperature_c=60.0, load=0.05), state)
    assert idle[250].mode == "40W"
    assert {decision.mode for decision in idle[301:]} == {"25W"}


def test_no_faster_mode_while_it_is_not_cool() -> None:
    _, trace = run(LIMITS, steady(600, temperature_c=82.0, load=1.0))
    assert {decision.mode for decision in trace} == {"25W"}


def test_load_that_swings_with_the_mode_swings_ever_more_slowly() -> None:
    state, moves, mode = GovernorState(), [], "25W"
    for second in range(24 * 3600):
        load = 0.95 if mode == "25W" else 0.2  # busy in the slow mode, idle in the fast one: the worst case
        state, decision = step(LIMITS, state, PowerSample(float(second), 60.0, load))
        if decision.mode != mode:
            moves.append(second)
            mode = str(decision.mode)
    assert state.patience == 8
    assert len([move for move in moves if move > 12 * 3600]) <= 2 * 12 * 3600 / (6 * 60 * 8) + 2


# ── what becomes of modes that go ──


def test_modes_that_turn_out_to_be_out_of_reach_leave_it_with_the_others() -> None:
    state, trace = run(LIMITS, steady(36, temperature_c=90.0))
    assert trace[-1].mode == "15W"
    fewer = Limits(("25W", "40W"), "25W", SETTINGS)
    _, after = run(fewer, steady(5, 36.0, temperature_c=90.0), state)
    assert after[0].mode == "25W"
    assert after[0].level <= after[0].max_level == 3
    none = Limits((), None, SETTINGS)
    _, bare = run(none, steady(40, temperature_c=90.0))
    assert (bare[-1].mode, bare[-1].refuse) == (None, True)


# ── whatever it is shown ──

TEMPERATURES = st.one_of(st.none(), st.floats(-40.0, 130.0))
LOADS = st.one_of(st.none(), st.floats(0.0, 1.0))
EVENTS = st.one_of(st.none(), st.integers(0, 10_000))
SETTINGS_ANY = st.builds(
    GovernorSettings,
    hot_c=st.floats(60.0, 90.0),
    critical_c=st.floats(91.0, 100.0),
    hysteresis_c=st.floats(1.0, 20.0),
    worse_after_s=st.floats(1.0, 30.0),
    better_after_s=st.floats(10.0, 120.0),
    rate_steps=st.sampled_from([(), (0.5,), (0.5, 0.25), (0.8, 0.5, 0.1)]),
)
LIMITS_ANY = st.builds(
    Limits,
    st.sampled_from([(), ("15W",), ("15W", "25W"), MODES]),
    st.sampled_from([None, "15W", "25W", "40W", "absent"]),
    SETTINGS_ANY,
    st.booleans(),
)
SEGMENTS = st.lists(st.tuples(st.integers(1, 200), TEMPERATURES, LOADS, EVENTS), min_size=1, max_size=12)


def samples_of(segments: list[tuple[int, float | None, float | None, int | None]]) -> list[PowerSample]:
    samples: list[PowerSample] = []
    for count, heat, load, events in segments:
        samples += steady(count, float(len(samples)), temperature_c=heat, load=load, over_current_events=events)
    return samples


@given(LIMITS_ANY, SEGMENTS)
def test_always_an_allowed_mode_and_a_rate_of_the_steps(
    limits: Limits, segments: list[tuple[int, float | None, float | None, int | None]]
) -> None:
    _, trace = run(limits, samples_of(segments))
    rates = {1.0, *limits.settings.rate_steps}
    for decision in trace:
        assert (decision.mode in limits.modes) if limits.modes else decision.mode is None
        assert decision.rate in rates
        assert 0 <= decision.level <= decision.max_level
        assert decision.refuse == (decision.level == decision.max_level)
        assert bool(decision.reason) or decision.level == 0


@given(st.lists(st.tuples(LIMITS_ANY, SEGMENTS), min_size=1, max_size=4))
def test_limits_that_change_under_way_are_kept_at_once(parts: list[tuple[Limits, list[Any]]]) -> None:
    state, at = GovernorState(), 0.0
    for limits, segments in parts:
        for sample in samples_of(segments)[:60]:
            state, decision = step(limits, state, replace(sample, at=at))
            at += 1.0
            assert (decision.mode in limits.modes) if limits.modes else decision.mode is None
            assert 0 <= decision.level <= decision.max_level
            assert not decision.lighter or limits.lighter


@given(LIMITS_ANY, SEGMENTS)
def test_changes_in_a_time_are_bounded(
    limits: Limits, segments: list[tuple[int, float | None, float | None, int | None]]
) -> None:
    samples = samples_of(segments)
    _, trace = run(limits, samples)
    index = {mode: number for number, mode in enumerate(limits.modes)}
    ups = [at.at for (before, after), at in zip(pairwise(trace), samples[1:], strict=True)
           if after.mode is not None and index[after.mode] > index[str(before.mode)]]  # fmt: skip
    assert all(late - early >= limits.settings.better_after_s for early, late in pairwise(ups))
    eased = [
        at.at for (before, after), at in zip(pairwise(trace), samples[1:], strict=True) if after.level < before.level
    ]
    assert all(late - early >= limits.settings.better_after_s for early, late in pairwise(eased))
    moves = sum(before.mode != after.mode for before, after in pairwise(trace))
    most = len(samples) / limits.settings.better_after_s + 1
    assert moves <= 2 * most + len(limits.modes)


@given(LIMITS_ANY, SEGMENTS, st.floats(-40.0, 130.0), st.floats(0.0, 60.0), LOADS, EVENTS)
def test_a_hotter_sample_never_gives_more(
    limits: Limits,
    segments: list[tuple[int, float | None, float | None, int | None]],
    heat: float,
    more: float,
    load: float | None,
    events: int | None,
) -> None:
    samples = samples_of(segments)
    state, _ = run(limits, samples)
    at = samples[-1].at + 1.0
    _, cool = step(limits, state, PowerSample(at, heat, load, events))
    _, warm = step(limits, state, PowerSample(at, heat + more, load, events))
    assert warm.rate <= cool.rate
    assert warm.refuse >= cool.refuse
    assert warm.lighter >= cool.lighter
    if limits.modes:
        assert limits.modes.index(str(warm.mode)) <= limits.modes.index(str(cool.mode))


@given(LIMITS_ANY, st.floats(-40.0, 130.0), st.floats(0.0, 60.0), st.integers(1, 300))
def test_a_hotter_day_is_never_a_faster_one(limits: Limits, heat: float, more: float, seconds: int) -> None:
    _, cool = run(limits, steady(seconds, temperature_c=heat))
    _, warm = run(limits, steady(seconds, temperature_c=heat + more))
    assert all(w.level >= c.level and w.rate <= c.rate for c, w in zip(cool, warm, strict=True))


@given(LIMITS_ANY, st.integers(0, 120))
def test_heat_that_goes_leaves_nothing_behind(limits: Limits, seconds: int) -> None:
    state, _ = run(limits, steady(seconds, temperature_c=110.0, load=0.5))
    wait = int(limits.settings.better_after_s) + 2
    _, trace = run(limits, steady(wait * 8, float(seconds), temperature_c=30.0, load=0.5), state)
    assert trace[-1].level == 0
    assert trace[-1].mode == (limits.modes[limits.floor] if limits.modes else None)


@pytest.mark.parametrize("at", [5.0, 4.0])
def test_a_sample_that_is_not_later_moves_nothing(at: float) -> None:
    state, before = run(LIMITS, steady(6, temperature_c=90.0))
    after, decision = step(LIMITS, state, PowerSample(at, 90.0))
    assert decision == before[-1]
    assert after.at == 5.0
    assert max_level(LIMITS, after) == 4
