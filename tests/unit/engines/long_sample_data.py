"""The example at int8 with all of its calibration frames; ``test_sample_data.py`` takes every third."""

from __future__ import annotations

from pathlib import Path

from tests.unit.engines.test_sample_data import built_with_a_margin


def test_the_example_is_built_with_a_margin_at_int8(tmp_path: Path) -> None:
    built_with_a_margin(tmp_path, "int8", every=1)
