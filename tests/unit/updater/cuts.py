"""Handovers on a watched robot, and what becomes of one that is cut. Not a test module."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from runtime.contract.robot.switching import HANDOVER_AUTO, SwitchRules
from runtime.contract.robot.update import UpdateOrder
from tests.fakes.robots.robot_turns import Behaviour, Container
from tests.fakes.robots.robot_world import order as plain_order
from tests.fakes.robots.robot_world import reference
from tests.unit.updater.crash_stories import MEMORY
from tests.unit.updater.robot import Crash, Robot

BOTH = SwitchRules(handover=HANDOVER_AUTO)
FAULTS: dict[str, Behaviour | None] = {
    "well": None,
    "turns-bad": Behaviour(turns_bad_after_s=1.0, only_when_serving=True),
}


def order(letter: str, **changes: Any) -> UpdateOrder:
    """Return an order of a fleet that wants handovers."""
    return plain_order(letter, **{"switch": BOTH, **changes})


class Watched(Robot):
    """A robot of which every call of the world is a look at who publishes."""

    most = 0
    gaps = 0.0
    """Seconds in which nobody did."""

    def tick(self, where: str) -> None:
        world = self.world
        count = len(world.publishers)
        assert count <= 1, f"{where}: two publishers: {world.containers}"
        super().tick(where)

    def serving(self) -> Container:
        found = [one for one in self.world.containers if self.world.serves(one)]
        assert len(found) == 1, self.world.containers
        return found[0]


def cut_at_places(fault: str, reboots: bool, first: int = 1, step: int = 1) -> int:
    """Cut a handover at each ``step``-th place from ``first`` on, by the death of the updater, or by the power where
    it ``reboots``; return the number of the first place that there is not."""
    at = first
    while True:
        with TemporaryDirectory(dir=MEMORY) as folder:
            if not _cut_at(Path(folder), at, FAULTS[fault], reboots):
                return at
        at += step


def _cut_at(folder: Path, at: int, behaviour: Behaviour | None, reboots: bool) -> bool:
    """Return whether the handover came to place ``at``."""
    robot = Watched(folder)
    robot.world.take_turns(robot.world.published)
    robot.on("1")
    if behaviour is not None:
        robot.world.behaviour[reference("2")] = behaviour
    robot.crash_at = at
    try:
        robot.run(order("2"))
    except Crash:
        if reboots:
            robot.world.reboot()
        robot.boot()
    else:
        return False
    state = robot.drive()
    robot.world.sleep(10.0)  # the fake's clock: what a reboot started is loaded
    wanted = "1"
    if state.order_id == "order-2":
        assert state.outcome in ("committed", "reverted"), (robot.log[-1], state)
        assert behaviour is None or state.outcome == "reverted"
        wanted = "2" if state.outcome == "committed" else "1"
    assert robot.serving().image == reference(wanted), robot.log[-1]
    assert len(robot.world.containers) == 1, robot.log[-1]
    robot.assert_whole()
    return True
