"""Every exporter's layout that `fleet init` knows, from the file to decoded answers, or to the sentence of a gate.

Weights are random, so many find nothing or boxes that are none: what must not happen is a traceback, or a decoder that
does not read the layout it was proposed for.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onnx import ModelProto

from fleet.cli import main
from tests.contract.models.model_road import built_from
from tests.unit.manifest.proposal import others
from tests.unit.manifest.proposal.net import save
from tests.unit.manifest.proposal.test_heads import TABLE

LONG_PARTS = 1
ROAD: list[tuple[str, Callable[[], ModelProto]]] = [
    *((name, build) for name, build, _, _ in TABLE), ("policy", others.policy), ("lstm", others.lstm_policy),
    ("silero_voice", others.voice),
]  # fmt: skip


@pytest.mark.parametrize(("name", "build"), ROAD, ids=[name for name, _ in ROAD])
def test_an_exporters_layout_goes_the_whole_road(name: str, build: Any, tmp_path: Path) -> None:
    assert main.run(["init", str(tmp_path / "fleet"), "--model", str(save(build(), tmp_path, name))]) == 0
    assert built_from(tmp_path / "fleet", "fp32") in ("decoded", "golden", "bad-model", "accuracy", "unsupported")
