"""The updater's installer, killed before each change that it makes to the disk; ``test_updater_slots.py`` has some."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.updater.installer import die_at_steps


@pytest.mark.parametrize("layout", ["slots", "older"])
def test_an_installer_killed_at_any_step_leaves_an_updater_that_answers(tmp_path: Path, layout: str) -> None:
    die_at_steps(tmp_path, layout)
