"""Updates in which a process or the power dies, at each place where that can be told. Not a test module."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fakes.robots.robot_turns import Behaviour
from tests.fakes.robots.robot_world import order, reference
from tests.unit.updater.robot import Crash, Robot

#: Files in memory: hundreds of robots are made here, and what is shown does not depend on the disk.
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
BAD = Behaviour(cosine=0.41)
POWERS = ("process", "robot")


def _good(robot: Robot) -> None:
    robot.on("1")


def _bad(robot: Robot) -> None:
    robot.on("1")
    robot.world.behaviour[reference("2")] = BAD


def _first(robot: Robot) -> None:
    robot.world.behaviour[reference("2")] = Behaviour()


def _first_bad(robot: Robot) -> None:
    robot.world.behaviour[reference("2")] = BAD


def _unconfirmed(robot: Robot) -> None:
    robot.on("1")
    robot.confirms = False


STORIES: dict[str, tuple[Callable[[Robot], None], tuple[str, ...]]] = {
    "good": (_good, ("committed",)),
    "bad": (_bad, ("reverted",)),
    "first": (_first, ("committed",)),
    "first-bad": (_first_bad, ("reverted",)),
    "unconfirmed": (_unconfirmed, ("reverted",)),
}


def ticks(root: Path, prepare: Callable[[Robot], None]) -> list[str]:
    robot = Robot(root)
    prepare(robot)
    robot.ticks, robot.log = 0, []
    robot.run(order("2"))
    return list(robot.log)


def _with_crash(robot: Robot, crash_at: int) -> None:
    """Submit and drive; die once at ``crash_at``; a new process goes on."""
    robot.ticks, robot.crash_at = 0, crash_at
    with contextlib.suppress(Crash):
        robot.run(order("2"))
    robot.crash_at = None


def crash_at_places(story: str, power: str, first: int = 1, step: int = 1) -> None:
    """Die once at each ``step``-th place of a story from ``first`` on; a new process has to end wholly old or wholly
    new. ``power``: ``process``, or ``robot`` for its power."""
    prepare, outcomes = STORIES[story]
    with TemporaryDirectory(dir=MEMORY) as folder:
        places = ticks(Path(folder), prepare)
    assert len(places) > 30
    for crash_at in range(first, len(places) + 1, step):
        with TemporaryDirectory(dir=MEMORY) as folder:
            robot = Robot(Path(folder))
            prepare(robot)
            had = robot.world.runs.image if robot.world.runs else None
            _with_crash(robot, crash_at)
            if power == "robot":
                robot.world.reboot()
            robot.boot()
            state = robot.drive()
            if state.order_id != "order-2":
                # It died before the order was on disk: the controller, which got no answer, gives it again.
                assert places[crash_at - 1] == "before save"
                state = robot.run(order("2"))
            assert state.outcome in outcomes, (places[crash_at - 1], state)
            robot.assert_whole()
            wanted = reference("2") if state.outcome == "committed" else had
            assert (robot.world.runs.image if robot.world.runs else None) == wanted
            assert [entry.order_id for entry in robot.history(9)].count("order-2") == 1
