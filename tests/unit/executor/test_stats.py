from __future__ import annotations

import pytest

from runtime.executor.inputs.sequence_counter import MAX_PUBLISHERS, UNKNOWN_SEQUENCE, SequenceCounter
from runtime.executor.serving.stats import ModelStats, Rate, Ring


def test_ring_keeps_the_newest_samples() -> None:
    ring = Ring(size=10)
    assert ring.percentiles() is None
    for value in range(100):
        ring.add(float(value))
    found = ring.percentiles()
    assert found is not None
    assert (found.p50, found.mean, found.count) == (94.5, 94.5, 10)


def test_rate_follows_and_falls_to_zero() -> None:
    rate = Rate()
    for index in range(100):
        rate.add(index / 10)
    assert rate.hertz(9.95) == pytest.approx(10.0, rel=0.05)
    assert rate.hertz(12.0) == pytest.approx(5.8, abs=0.3)
    assert rate.hertz(20.0) == 0.0


def test_rate_is_right_when_the_window_overflows() -> None:
    rate = Rate()
    for index in range(5000):
        rate.add(index / 1000)
    assert rate.hertz(5.0) == pytest.approx(512.0, rel=1.0)  # a lower bound is all 512 samples can give within a second
    assert rate.hertz(5.0) >= 500


def test_gaps_count_exactly_per_publisher() -> None:
    counter = SequenceCounter()
    assert [counter.lost_before(b"a", n) for n in (5, 6, 9, 10)] == [0, 0, 2, 0]
    assert counter.lost_before(b"b", 1) == 0
    assert counter.lost_before(b"a", 11) == 0
    assert counter.lost_before(b"b", 3) == 1


def test_a_restarted_or_unnumbered_publisher_loses_nothing() -> None:
    counter = SequenceCounter()
    counter.lost_before(b"a", 100)
    assert counter.lost_before(b"a", 1) == 0
    assert counter.lost_before(b"a", 2) == 0
    assert counter.lost_before(b"a", None) == 0
    assert counter.lost_before(b"a", UNKNOWN_SEQUENCE) == 0


def test_publishers_remembered_are_bounded() -> None:
    counter = SequenceCounter()
    for index in range(MAX_PUBLISHERS + 5):
        counter.lost_before(bytes([index]), 1)
    assert counter.lost_before(bytes([0]), 10) == 0  # forgotten, so nothing is known to be lost
    assert counter.lost_before(bytes([MAX_PUBLISHERS + 4]), 10) == 8


def test_counts_add_up() -> None:
    stats = ModelStats()
    stats.arrived(lost=2)
    stats.refused_input("bgr8", lost=1, kind="encoding")
    stats.refused("cuda says no")
    stats.published(3.0, None)
    assert (stats.frames, stats.lost, stats.errors, stats.last_error) == (1, 3, 2, "cuda says no")
    assert stats.causes() == {"encoding": 1, "inference": 1, "lost": 3}
    inference, age = stats.latencies()
    assert inference is not None
    assert inference.p50 == 3.0
    assert age is None


def test_the_input_rate_is_that_of_the_slowest_input() -> None:
    stats = ModelStats(["image", "scan"])
    for _ in range(5):
        stats.arrived(0, "image")
    assert stats.rates()[0] == 0.0
    stats.refused_input("5 ranges, expected 4", 0, "scan", "size")
    assert 0.0 < stats.rates()[0] <= 1.0
