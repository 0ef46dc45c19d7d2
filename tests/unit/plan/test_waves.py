"""Waves as arithmetic: each robot exactly once, canary first, no more than asked for at a time."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.manifest.schema.manifest_schema import MaxUnavailable, Rollout
from fleet.plan.waves import batches, waves
from fleet.ports import RobotAddress
from fleet.resolve.desired import DesiredRobot


def robots(count: int, **labels: str) -> list[DesiredRobot]:
    return [robot(f"r{n}", **labels) for n in range(count)]


def robot(name: str, **labels: str) -> DesiredRobot:
    return DesiredRobot(name, RobotAddress(name, "h", 22, "jetson"), None, labels, "v", {}, None)


def sizes(count: int, *entries: int | str) -> list[int]:
    return [len(wave) for wave in waves(robots(count), Rollout(waves=entries))]


def unchecked(entries: list[int | str]) -> Rollout:
    """A policy that the manifest would not let pass: the arithmetic must hold for it too."""
    return Rollout().model_copy(update={"waves": tuple(entries)})


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
    assert [[r.name for r in wave] for wave in waves(fleet, Rollout(waves=(1, "100%")))] == [["c"], ["a", "b", "d"]]


entry = st.one_of(st.integers(1, 500), st.integers(1, 100).map(lambda n: f"{n}%"))


@given(st.integers(0, 400), st.lists(entry, min_size=1, max_size=6))
def test_every_robot_exactly_once_and_no_wave_empty(count: int, entries: list[int | str]) -> None:
    fleet = robots(count)
    result = waves(fleet, unchecked(entries))
    assert [r.name for wave in result for r in wave] == [r.name for r in fleet]
    assert all(result)
    if count and isinstance(entries[0], int):
        assert len(result[0]) == min(entries[0], count)


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
