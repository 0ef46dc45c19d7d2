"""Hundreds of random small models from `fleet init` to decoded answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.models.model_road import travel

LONG_PARTS = 1
SEEDS = range(1000, 1400)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_model_ends_in_answers_or_in_a_sentence(seed: int, tmp_path: Path) -> None:
    assert travel(seed, tmp_path)
