from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.updater.robot import Robot


@pytest.fixture(autouse=True)
def _fast_disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """fsync costs milliseconds and shows nothing here; test_journal.py, which is about it, keeps it."""
    if request.module.__name__.rpartition(".")[2] != "test_journal":
        monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def robot(tmp_path: Path) -> Robot:
    return Robot(tmp_path)
