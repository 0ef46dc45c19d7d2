"""10,000 lives of a robot, other ones at each run: half of them in each part."""

from __future__ import annotations

from tests.unit.updater.model.machine import check

LONG_PARTS = 2
SEQUENCES = 10_000


def test_any_life_of_a_robot() -> None:
    check(SEQUENCES // LONG_PARTS, the_same_each_time=False)
