"""Whatever an ONNX file is like, `fleet init` writes a manifest that validates, or says one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from onnx import ModelProto

from fleet.cli import main
from tests.contract.models.model_road import built_from
from tests.contract.models.odd_models import proposed
from tests.unit.manifest.proposal import others
from tests.unit.manifest.proposal.net import save

SEEDS = 30
"""Few here; `long_odd_models.py` takes hundreds, and builds some."""


def test_odd_models_are_proposed_or_refused_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ends = []
    for seed in range(SEEDS):
        (folder := tmp_path / str(seed)).mkdir()
        ends.append(proposed(seed, folder, lambda: capsys.readouterr().err))
    assert ends.count("valid") >= SEEDS / 3, ends  # refusals alone would pass otherwise


def test_what_was_proposed_builds_or_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ends = []
    for seed in range(500, 504):
        (folder := tmp_path / str(seed)).mkdir()
        ends.append(proposed(seed, folder, lambda: capsys.readouterr().err, build=True))
    assert "valid" not in ends


@pytest.mark.parametrize("build", [others.deeplab, others.lstm_policy, others.keras_classifier])
def test_layouts_of_exporters_are_answered(build: Callable[[], ModelProto], tmp_path: Path) -> None:
    """Three of those in `long_exporters.py`."""
    assert main.run(["init", str(tmp_path / "fleet"), "--model", str(save(build(), tmp_path))]) == 0
    assert built_from(tmp_path / "fleet", "fp32") == "decoded"
