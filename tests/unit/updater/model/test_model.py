"""Some lives that the transaction is checked with, the same at each run; ``long_model.py`` leads 10,000 others."""

from __future__ import annotations

from tests.unit.updater.model.machine import check

SEQUENCES = 60


def test_any_life_of_a_robot() -> None:
    check(SEQUENCES, the_same_each_time=True)
