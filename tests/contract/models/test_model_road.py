"""Random small models from `fleet init` to decoded answers: sentences and answers, never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.models.model_road import travel

SEEDS = 5
"""Few here; `long_model_road.py` takes hundreds."""


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_random_model_ends_in_answers_or_in_a_sentence(seed: int, tmp_path: Path) -> None:
    assert travel(seed, tmp_path)


def test_most_of_them_are_answered(tmp_path: Path) -> None:
    """Refusals alone would pass the other test."""
    ends = []
    for seed in range(100, 104):
        (tmp_path / str(seed)).mkdir()
        ends.append(travel(seed, tmp_path / str(seed)))
    assert ends.count("decoded") >= 2, ends
