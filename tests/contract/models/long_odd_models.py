"""Hundreds of odd models from `fleet init` to a manifest that validates; every fifth is built, run and decoded."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.models.odd_models import proposed

LONG_PARTS = 1
SEEDS = range(1000, 1800)


@pytest.mark.parametrize("seed", SEEDS)
def test_an_odd_model_is_proposed_or_refused(seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert proposed(seed, tmp_path, lambda: capsys.readouterr().err, build=seed % 5 == 0)
