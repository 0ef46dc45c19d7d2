"""Which frames of several inputs a model runs on, and what becomes of the others: every one is accounted for."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.contract.node.runtime_config import JoinRule, Trigger
from runtime.executor.inputs.closest_set import closest_set
from runtime.executor.inputs.frames import Stamp
from runtime.executor.inputs.synchronizer import CLOCK_BACK, LATE, REPLACED, STALE, UNMATCHED, Pending, Synchronizer

MS = 1_000_000


class Clock:
    def __init__(self) -> None:
        self.ns = 0

    def __call__(self) -> int:
        return self.ns


def frame(ms: float, name: str = "") -> Pending:
    ns = round(ms * MS)
    return Pending(Stamp(ns // 1_000_000_000, ns % 1_000_000_000, name), None)


def at(taken: dict[str, Pending]) -> dict[str, int]:
    return {name: pending.at_ns // MS for name, pending in taken.items()}


def join(trigger: Trigger | None = None, clock: Clock | None = None, **rule: Any) -> Synchronizer:
    return Synchronizer(["a", "b"], trigger or Trigger(), JoinRule(**rule), clock or Clock())


def test_by_default_every_input_has_something_new() -> None:
    both = join()
    both.put("a", frame(1000))
    assert not both.ready()
    both.put("b", frame(5000))
    assert at(both.take()) == {"a": 1000, "b": 5000}
    assert both.take() == {}
    both.put("a", frame(1001))
    assert not both.ready()


def test_within_the_tolerance_is_a_set_and_beyond_it_the_older_one_is_dropped() -> None:
    both = join(tolerance_s=0.05)
    both.put("a", frame(1000))
    both.put("b", frame(1051))
    assert both.take() == {}
    assert both.counts[UNMATCHED] == 1
    both.put("a", frame(1101))
    assert at(both.take()) == {"a": 1101, "b": 1051}
    assert both.unused == 1


def test_a_trigger_runs_on_its_own_frames_and_reuses_the_newest_of_the_others() -> None:
    triggered = join(Trigger(input="a"), tolerance_s=0.1)
    triggered.put("b", frame(1000))
    assert not triggered.ready()
    for ms in (1030, 1060, 1090):
        triggered.put("a", frame(ms))
        assert at(triggered.take()) == {"a": ms, "b": 1000}
    triggered.put("a", frame(1120))
    assert not triggered.ready()
    triggered.put("b", frame(1100))
    triggered.put("b", frame(1105))
    assert at(triggered.take()) == {"a": 1120, "b": 1105}
    assert triggered.unused == 0  # frames of an input that only goes along are not waited for


def test_a_frame_replaced_before_it_was_used_is_counted() -> None:
    triggered = join(Trigger(input="a"))
    triggered.put("a", frame(1))
    triggered.put("a", frame(2))
    assert triggered.counts[REPLACED] == 1


def test_by_time_the_newest_go_along_and_a_period_without_news_is_skipped() -> None:
    timed = join(Trigger(rate_hz=10))
    timed.put("a", frame(1000))
    assert not timed.tick()
    timed.put("b", frame(1010))
    assert not timed.ready()
    assert timed.tick()
    assert at(timed.take()) == {"a": 1000, "b": 1010}
    assert not timed.tick()
    timed.put("a", frame(1100))
    timed.put("a", frame(1130))
    assert timed.tick()
    assert at(timed.take()) == {"a": 1130, "b": 1010}
    assert timed.unused == 0


def test_by_time_with_repeat_it_runs_on_the_same_until_that_is_too_old() -> None:
    clock = Clock()
    timed = join(Trigger(rate_hz=10, repeat=True), clock, max_age_s=0.25)
    timed.put("a", frame(1000))
    timed.put("b", frame(1000))
    for ms in (1000, 1100, 1200):
        clock.ns = ms * MS
        assert timed.tick()
        assert at(timed.take()) == {"a": 1000, "b": 1000}
    clock.ns = 1300 * MS
    assert not timed.tick()
    assert timed.take() == {}


def test_what_is_too_old_when_the_set_is_complete_is_not_used() -> None:
    clock = Clock()
    both = join(None, clock, max_age_s=0.2)
    both.put("a", frame(1000))
    clock.ns = 1300 * MS
    both.put("b", frame(1300))
    assert not both.ready()
    assert both.counts[STALE] == 1
    both.put("a", frame(1290))
    assert at(both.take()) == {"a": 1290, "b": 1300}


def test_a_single_input_may_be_too_old_as_well() -> None:
    clock = Clock()
    clock.ns = 2000 * MS
    one = Synchronizer(["a"], Trigger(), JoinRule(max_age_s=0.5), clock)
    one.put("a", frame(1000))
    assert one.take() == {}
    assert one.counts[STALE] == 1


def test_a_late_frame_is_not_used_and_a_clock_set_back_begins_anew() -> None:
    both = join(tolerance_s=0.05, clock_back_s=1.0)
    both.put("a", frame(5000))
    both.put("a", frame(4990))
    assert (both.counts[LATE], both.counts[CLOCK_BACK]) == (1, 0)
    both.put("a", frame(1000))
    assert both.counts[CLOCK_BACK] == 1
    both.put("b", frame(1010))
    assert at(both.take()) == {"a": 1000, "b": 1010}


def test_a_stamp_of_zero_is_joined_by_its_arrival() -> None:
    both = join(tolerance_s=0.05)
    both.put("a", Pending(Stamp(0, 0, ""), None, arrived_ns=1020 * MS))
    both.put("b", frame(1000))
    assert at(both.take()) == {"a": 1020, "b": 1000}


def test_a_trigger_that_is_no_input_is_refused() -> None:
    with pytest.raises(ValueError, match="trigger 'c' is not an input: a, b"):
        join(Trigger(input="c"))


def late_sensor(delay: float, rule: JoinRule, trigger: Trigger | None = None, offset: float = 0.0) -> list[float]:
    """Return the differences in ms of what goes together of two sensors at 30 Hz, one of them late."""
    frames = [(k / 30, name, late) for k in range(90) for name, late in (("a", 0.005), ("b", delay))]
    both = Synchronizer(["a", "b"], trigger or Trigger(), rule, offsets_s={"b": -offset})
    found = []
    for stamp, name, _ in sorted(frames, key=lambda each: (each[0] + each[2], each[1])):
        both.put(name, frame(10_000 + (stamp + (offset if name == "b" else 0.0)) * 1000))
        if taken := both.take():
            found.append((taken["b"].at_ns - taken["a"].at_ns) / MS - offset * 1000)
    return found


@pytest.mark.parametrize("trigger", [None, Trigger(input="a")])
@pytest.mark.parametrize("tolerance", [0.01, 0.05, 0.12])
@pytest.mark.parametrize("delay", [0.01, 0.06, 0.1, 0.2])
def test_equal_stamps_go_together_however_late_one_sensor_is(
    delay: float, tolerance: float, trigger: Trigger | None
) -> None:
    found = late_sensor(delay, JoinRule(tolerance, match="nearest"), trigger)
    assert found == pytest.approx([0.0] * 90, abs=1e-3)


def test_an_offset_of_an_input_is_taken_off_its_stamps() -> None:
    assert late_sensor(0.06, JoinRule(0.01), offset=0.02) == pytest.approx([0.0] * 90, abs=1e-3)


def test_a_frame_whose_partner_was_lost_takes_no_other_ones() -> None:
    both = join(tolerance_s=0.05)
    for name, ms in (("a", 0), ("b", 1), ("b", 34), ("a", 66), ("b", 67), ("a", 100)):  # a's frame at 33 is lost
        both.put(name, frame(1000 + ms))
    assert at(both.take()) == {"a": 1066, "b": 1067}
    assert (both.counts[UNMATCHED], both.counts[REPLACED]) == (1, 2)


def test_a_trigger_takes_the_closest_and_at_once_where_nothing_else_is_declared() -> None:
    for match, expected in (("", {"a": 1100, "b": 1090}), ("nearest", {})):
        triggered = join(Trigger(input="a"), tolerance_s=0.05, match=match)
        for name, ms in (("b", 1070), ("b", 1090), ("a", 1100)):
            triggered.put(name, frame(ms))
        assert at(triggered.take()) == expected
    triggered.put("b", frame(1105))
    assert at(triggered.take()) == {"a": 1100, "b": 1105}


@pytest.mark.parametrize(("match", "expected"), [("at_once", 966), ("", 999)])
def test_a_closer_frame_is_waited_for_where_one_may_come(match: str, expected: int) -> None:
    both = join(tolerance_s=0.05, match=match)
    for name, ms in (("b", 900), ("b", 933), ("b", 966), ("a", 1000)):
        both.put(name, frame(ms))
    assert bool(both.take()) == bool(match)
    both = join(tolerance_s=0.05, match=match)
    for name, ms in (("b", 900), ("b", 933), ("b", 966), ("a", 1000), ("b", 999), ("b", 1033)):
        both.put(name, frame(ms))
    assert at(both.take()) == {"a": 1000, "b": expected}


def test_a_slow_input_is_not_waited_for_where_its_next_frame_lies_further() -> None:
    both = join(tolerance_s=0.5)
    for name, ms in (("b", 800), ("b", 900), ("b", 1000), ("a", 1010)):
        both.put(name, frame(ms))
    assert at(both.take()) == {"a": 1010, "b": 1000}


def test_a_queue_is_bounded_and_what_falls_out_is_counted() -> None:
    both = join(tolerance_s=10.0, queue=3)
    for ms in range(5):
        both.put("a", frame(1000 + ms))
    assert (both.waiting, both.counts[REPLACED]) == (3, 2)


@given(st.lists(st.lists(st.integers(0, 60), min_size=1, max_size=5), min_size=2, max_size=3), st.integers(0, 60))
def test_the_closest_set_is_the_closest_of_all(queues: list[list[int]], most: int) -> None:
    stamps = [sorted(queue) for queue in queues]
    for pivot in range(len(stamps[0])):
        best = closest_set(stamps, 0, pivot, most)
        every = [[stamps[0][pivot], *others] for others in itertools.product(*stamps[1:])]
        spread = min(max(each) - min(each) for each in every)
        assert (best is None) == (spread > most)
        assert best is None or best.spread == spread


STEPS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 4000)), max_size=60)
TRIGGERS = st.sampled_from([Trigger(), Trigger(input="a"), Trigger(rate_hz=5), Trigger(rate_hz=5, repeat=True)])


@given(STEPS, TRIGGERS, st.sampled_from([0, 20, 100]), st.sampled_from([None, 300]))
def test_whatever_comes_a_set_is_whole_matched_and_fresh_enough(
    steps: list[tuple[str, int]], trigger: Trigger, tolerance: int, max_age: int | None
) -> None:
    clock = Clock()
    age = None if max_age is None else max_age / 1000
    three = Synchronizer(["a", "b", "c"], trigger, JoinRule(tolerance / 1000, age), clock)
    used: set[int] = set()
    for name, ms in steps:
        clock.ns = max(clock.ns, ms * MS)
        three.put(name, frame(ms))
        if trigger.rate_hz:
            three.tick()
        ready = three.ready()
        taken = three.take()
        assert ready == bool(taken)
        if taken:
            stamps = [pending.at_ns for pending in taken.values()]
            assert set(taken) == {"a", "b", "c"}
            assert max(stamps) - min(stamps) <= tolerance * MS
            assert max_age is None or min(stamps) >= clock.ns - max_age * MS
            if not trigger.rate_hz:
                mine = {id(pending) for key, pending in taken.items() if trigger.input in ("", key)}
                assert not mine & used
                used |= mine
                KEPT.append(taken.copy())  # ids stay taken while the frames live
    KEPT.clear()


KEPT: list[dict[str, Pending]] = []


@given(STEPS, st.sampled_from([0, 20, 100]))
def test_every_frame_is_used_waiting_or_counted_once(steps: list[tuple[str, int]], tolerance: int) -> None:
    three = Synchronizer(["a", "b", "c"], Trigger(), JoinRule(tolerance / 1000))
    used = 0
    for name, ms in steps:
        three.put(name, frame(ms))
        used += len(three.take())
    assert used + three.waiting + three.unused == len(steps)


@given(st.integers(2000, 100_000), st.integers(1001, 90_000), st.permutations(["a", "b", "c"]))
def test_after_every_clock_was_set_back_sets_come_again(start: int, back: int, order: list[str]) -> None:
    three = Synchronizer(["a", "b", "c"], Trigger(), JoinRule(0.01, None, 1.0))
    begin = max(0, start - back)
    for ms in (start, start + 10):
        for name in order:
            three.put(name, frame(ms))
        assert three.take()
    for name in order:
        three.put(name, frame(begin + 1))
    three.take()
    for name in order:
        three.put(name, frame(begin + 11))
    assert at(three.take()) == dict.fromkeys(["a", "b", "c"], begin + 11)


@pytest.mark.parametrize("stamp_ms", [3_600_000, 999_500, 0])
def test_a_dead_sensors_last_frame_ages_by_its_arrival_whatever_its_stamp_says(stamp_ms: int) -> None:
    clock, steady = Clock(), 50.0
    clock.ns = 1_000_000 * MS
    one = Synchronizer(["a"], Trigger(rate_hz=10, repeat=True), JoinRule(max_age_s=0.5), clock, lambda: steady)
    last = frame(stamp_ms)
    one.put("a", last._replace(stamp=last.stamp._replace(arrived_s=50.0), arrived_ns=clock.ns))
    for steady in (50.0, 50.4):  # noqa: B007 - read by the synchronizer's clock
        assert one.tick()
        assert one.take()
    steady = 50.6
    assert not one.tick()
    assert one.take() == {}
