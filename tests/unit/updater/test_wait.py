"""Asked to wait, the updater answers at the next change, and after the time that was given."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runtime.updater.transaction.update_state import Rejected
from tests.fakes.robots.robot_world import order
from tests.unit.updater.robot import Robot


def test_whoever_waits_is_answered_by_the_next_change(tmp_path: Path) -> None:
    robot = Robot(tmp_path)
    known = robot.updater.status().mark
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(robot.updater.wait, known, 30.0)
        robot.updater.submit(order("a"))
        state = waiting.result(timeout=29.0)
    assert (state.state, state.mark != known) == ("preflight", True)


def test_a_change_since_the_mark_answers_at_once_and_so_does_a_mark_of_another_life(tmp_path: Path) -> None:
    robot = Robot(tmp_path)
    before = robot.updater.status().mark
    robot.on("a")
    assert robot.updater.wait(before, 30.0).state == "idle"
    last = robot.updater.status().mark
    assert robot.boot().wait(last, 30.0).mark != last


def test_without_a_change_the_time_is_kept(tmp_path: Path) -> None:
    robot = Robot(tmp_path)
    known = robot.updater.status().mark
    assert robot.updater.wait(known, 0.05).mark == known


def test_a_stop_answers_everybody(tmp_path: Path) -> None:
    robot = Robot(tmp_path)
    robot.updater.stop()
    assert robot.updater.wait(robot.updater.status().mark, 30.0).state == "idle"


@pytest.mark.parametrize("seconds", [0.0, -1.0, 31.0, float("nan")])
def test_no_other_time_is_taken(tmp_path: Path, seconds: float) -> None:
    with pytest.raises(Rejected, match="more than 0 and at most 30"):
        Robot(tmp_path).updater.wait("", seconds)
