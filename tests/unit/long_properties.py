"""Every property of the unit tests with ten times the examples, other ones at each run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.examples import ENV_TIMES

ROOT = Path(__file__).parents[2]
FILES = sorted(
    str(path.relative_to(ROOT)) for path in (ROOT / "tests/unit").rglob("test_*.py") if "@given(" in path.read_text()
)


@pytest.mark.parametrize("file", FILES)
def test_properties_hold(file: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", file]
    assert subprocess.run(command, cwd=ROOT, env={**os.environ, ENV_TIMES: "10"}, check=False).returncode == 0


def test_there_are_some() -> None:
    assert len(FILES) > 5
