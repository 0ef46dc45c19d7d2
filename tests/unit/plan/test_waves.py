"""Waves as arithmetic: each robot exactly once, canary first, no more than asked for at a time."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.manifest.schema.manifest_schema import MaxUnavailable, Rollout
from fleet.manifest.schema.values import WaveStep
from fleet.plan.waves import batches, plan_waves, waves
from fleet.ports import RobotAddress
from fleet.resolve.desired import DesiredRobot


def robots(count: int, **labels: str) -> list[DesiredRobot]:
    return [robot(f"r{n}", **labels) for n in range(count)]


def robot(name: str, **labels: str) -> DesiredRobot:
    return DesiredRobot(name, RobotAddress(name, "h", 22, "jetson"), None, labels, "v", {}, None)


def sizes(count: int, *entries: int | str) -> list[int]:
    return [len(wave.robots) for wave in waves(robots(count), Rollout(waves=entries))]


def unchecked(entries: list[int | str]) -> Rollout:
    """A policy that the manifest would not let pass: the arithmetic must hold for it too."""
    return Rollout().model_copy(update={"waves": tuple(WaveStep(to=each) for each in entries)})


@pytest.mark.parametrize(
    ("count", "entries", "expected"),
    [
        (200, (1, "10%", "50%", "100%"), [1, 19, 80, 100]),
        (3, (1, "10%", "50%", "100%"), [1, 1, 1]),
        (1, (1, "10%", "50%", "100%"), [1]),
        (0, (1, "100%"), []),
        (10, (3, 5, "100%"), [3, 2, 5]),
        (10, (3, "30%", "100%"), [3, 7]),
        (100, ("7%", "100%"), [7, 93]),
        (1000, ("0.1%", "100%"), [1, 999]),
        (10, (50, "100%"), [10]),
    ],
)
def test_sizes(count: int, entries: tuple[int | str, ...], expected: list[int]) -> None:
    assert sizes(count, *entries) == expected


def test_labelled_canaries_come_first_and_others_keep_their_order() -> None:
    fleet = [robot("a"), robot("b", canary="false"), robot("c", canary="true"), robot("d")]
    planned = waves(fleet, Rollout.model_validate({"waves": [1, "100%"]}))
    assert [[r.name for r in wave.robots] for wave in planned] == [["c"], ["a", "b", "d"]]


def test_an_approval_is_not_lost_by_rounding() -> None:
    """Three robots: 10% adds nobody to the first one, so the next wave that has robots wants the approval."""
    policy = Rollout.model_validate({"waves": [1, {"to": "10%", "approve": True}, "50%", "100%"]})
    small = waves(robots(3), policy)
    assert [(len(wave.robots), wave.approve) for wave in small] == [(1, False), (1, True), (1, False)]
    assert [wave.approve for wave in waves(robots(100), policy)] == [False, True, False, False]
    first = Rollout.model_validate({"waves": [{"to": 1, "approve": True}, "100%"]})
    assert [wave.approve for wave in waves(robots(2), first)] == [True, False]


def test_robots_whose_container_stays_come_last_and_need_no_approval() -> None:
    policy = Rollout.model_validate({"waves": [1, {"to": "100%", "approve": True}]})
    planned = plan_waves(robots(3), {"r0", "r2"}, policy)
    assert [([r.name for r in wave.robots], wave.approve, wave.records) for wave in planned] == [
        (["r1"], False, False),
        (["r0", "r2"], False, True),
    ]


entry = st.one_of(st.integers(1, 500), st.integers(1, 100).map(lambda n: f"{n}%"))


@given(st.integers(0, 400), st.lists(entry, min_size=1, max_size=6))
def test_every_robot_exactly_once_and_no_wave_empty(count: int, entries: list[int | str]) -> None:
    fleet = robots(count)
    result = waves(fleet, unchecked(entries))
    assert [r.name for wave in result for r in wave.robots] == [r.name for r in fleet]
    assert all(wave.robots for wave in result)
    if count and isinstance(entries[0], int):
        assert len(result[0].robots) == min(entries[0], count)


@given(st.lists(st.sampled_from(["hall-1", "hall-2", None]), max_size=60), st.integers(1, 5))
def test_batches_never_take_more_of_a_place_than_allowed(places: list[str | None], limit: int) -> None:
    wave = [robot(f"r{n}", **({"site": place} if place else {})) for n, place in enumerate(places)]
    result = batches(wave, MaxUnavailable(per="site", robots=limit))
    assert sorted(r.name for batch in result for r in batch) == sorted(r.name for r in wave)
    assert all(result)
    for batch in result:
        counted = Counter(r.labels["site"] for r in batch if "site" in r.labels)
        assert all(number <= limit for number in counted.values())


def test_without_a_limit_a_wave_is_one_batch() -> None:
    fleet = robots(3)
    assert batches(fleet, None) == [fleet]
    assert batches([], None) == []
