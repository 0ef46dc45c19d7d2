"""Every layout at every precision (the representatives of the suite are in `test_built_heads.py`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.head_models import LAYOUTS
from tests.unit.engines.built_heads import build_and_compare

LONG_PARTS = 1
WITHIN = {"fp32": (0.5, 0.005), "fp16": (0.5, 0.005), "int8": (0.5, 0.02)}
"""Pixels and score by which a box may differ from plain arithmetic."""


@pytest.mark.parametrize("precision", WITHIN)
@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_at_every_precision(name: str, precision: str, tmp_path: Path) -> None:
    found = build_and_compare(name, precision, tmp_path)
    pixels, score = WITHIN[precision]
    assert (found.lost, found.pixels <= pixels, found.score <= score) == (0, True, True), found
