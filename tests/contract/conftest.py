"""Fixtures of the tests on real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.robot.robot_process import Robot, StartRobot
from tests.harness import share


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests that share this machine's Engine on one worker."""
    for item in items:
        if item.get_closest_marker("docker"):
            item.add_marker(pytest.mark.xdist_group("contract-engine"))


@pytest.fixture(autouse=True)
def _engine_turn(request: pytest.FixtureRequest) -> Iterator[None]:
    """Take turns with other test runs at this machine's Engine: the updater's kept images have one name on it."""
    if request.node.get_closest_marker("docker") is None:
        yield
        return
    with share.turn("engine"):
        yield


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
