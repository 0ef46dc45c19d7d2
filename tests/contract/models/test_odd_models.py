"""Whatever an ONNX file is like, `fleet init` writes a manifest that validates, or says one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.models.odd_models import proposed

SEEDS = 30
"""Few here; `long_odd_models.py` takes hundreds, and builds some."""


def test_odd_models_are_proposed_or_refused_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ends = []
    for seed in range(SEEDS):
        (folder := tmp_path / str(seed)).mkdir()
        ends.append(proposed(seed, folder, lambda: capsys.readouterr().err))
    assert ends.count("valid") >= SEEDS / 5, ends  # refusals alone would pass otherwise


def test_what_was_proposed_builds_or_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ends = []
    for seed in range(500, 504):
        (folder := tmp_path / str(seed)).mkdir()
        ends.append(proposed(seed, folder, lambda: capsys.readouterr().err, build=True))
    assert "valid" not in ends
