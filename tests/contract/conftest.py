"""Fixtures of the tests on real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.robot_process import Robot, StartRobot


@pytest.fixture
def robot(tmp_path: Path) -> Iterator[StartRobot]:
    """Starts agents with their executors; those that still run at the end are ended."""
    robots: list[Robot] = []

    def start(folder: Path, *prefix: str) -> Robot:
        robots.append(Robot(folder, tmp_path, prefix))
        return robots[-1]

    yield start
    for one in robots:
        one.end()
