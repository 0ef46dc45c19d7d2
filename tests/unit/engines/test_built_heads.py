"""Models of every exporter's layout, built and run: their boxes are those of plain arithmetic on the picture.

The other precisions of every layout are in `long_built_heads.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.head_models import LAYOUTS
from tests.unit.engines.built_heads import build_and_compare

PIXELS, SCORE = 0.5, 0.005
AT_INT8 = ("YOLO26", "pose", "segmentation")


@pytest.mark.parametrize("name", LAYOUTS)
def test_at_fp32_every_box_is_where_arithmetic_says(name: str, tmp_path: Path) -> None:
    found = build_and_compare(name, "fp32", tmp_path)
    assert found.boxes >= 6, "the case proves nothing"
    assert (found.lost, found.pixels <= PIXELS, found.score <= SCORE) == (0, True, True), found


@pytest.mark.parametrize("name", AT_INT8)
def test_at_int8_no_box_is_lost(name: str, tmp_path: Path) -> None:
    found = build_and_compare(name, "int8", tmp_path)
    assert found.lost == 0, found
    assert found.score < 0.02, found
