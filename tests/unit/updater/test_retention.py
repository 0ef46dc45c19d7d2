"""What stays on the robot's disk: current, previous, the one to fall back to, and what somebody pinned."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.updater.daemon.retention import pinned, unpinned
from runtime.updater.daemon.serve import answer
from runtime.updater.power.mode_keeper import PowerKeeper, Rules
from runtime.updater.power.nvpmodel import Nvpmodel
from runtime.updater.transaction.update_state import Rejected, state_lines
from tests.fakes.robots.robot_world import order, reference
from tests.unit.updater.robot import Robot


def pin(robot: Robot, name: str) -> None:
    robot.updater.amend(lambda journal: pinned(journal, name))


def unpin(robot: Robot, version: str) -> None:
    robot.updater.amend(lambda journal: unpinned(journal, version))


def test_a_pinned_release_outlives_every_later_one(robot: Robot) -> None:
    robot.on("1")
    pin(robot, "current")
    for letter in "2345":
        robot.on(letter)
    assert set(robot.world.images) == {reference(letter) for letter in "145"}
    robot.assert_whole()
    assert robot.updater.status().pinned == ("1.1.0",)
    assert "pinned    1.1.0" in state_lines(robot.updater.status())


def test_it_outlives_the_process_and_failed_orders(robot: Robot) -> None:
    robot.on("1")
    pin(robot, "1.1.0")
    robot.on("2")
    robot.on("3")
    robot.boot()
    robot.world.behaviour[reference("4")] = robot.world.room.__class__(cosine=0.1)
    assert robot.run(order("4")).outcome == "reverted"
    assert set(robot.world.images) == {reference(letter) for letter in "123"}
    robot.assert_whole()


def test_unpinned_it_goes_at_once(robot: Robot) -> None:
    robot.on("1")
    pin(robot, "current")
    for letter in "234":
        robot.on(letter)
    unpin(robot, "1.1.0")
    robot.drive()
    assert set(robot.world.images) == {reference(letter) for letter in "34"}
    assert robot.updater.status().pinned == ()
    robot.assert_whole()


def test_unpinning_what_is_needed_anyway_removes_nothing(robot: Robot) -> None:
    robot.on("1")
    robot.on("2")
    pin(robot, "previous")
    pin(robot, "previous")  # again is fine
    assert robot.journal.pinned == (robot.journal.previous,)
    unpin(robot, "1.1.0")
    robot.drive()
    assert set(robot.world.images) == {reference("1"), reference("2")}


def test_a_pin_in_the_middle_of_an_order_is_not_lost(robot: Robot) -> None:
    robot.on("1")
    robot.updater.submit(order("2"))
    advance, begun = robot.world.compose_up, []

    def meanwhile(folder: str, slot: str = "") -> None:
        advance(folder)
        begun.append(folder)
        pin(robot, "current")

    robot.world.compose_up = meanwhile  # type: ignore[method-assign]
    assert robot.drive().outcome == "committed"
    assert begun
    assert [release.version for release in robot.journal.pinned] == ["1.1.0"]
    robot.world.compose_up = advance  # type: ignore[method-assign]
    for letter in "34":
        robot.on(letter)
    assert reference("1") in robot.world.images


@pytest.mark.parametrize(
    ("verb", "name", "said", "hint"),
    [
        ("pin", "9.9.9", "no release 9.9.9 on this robot's disk", "on it: 1.1.0"),
        ("pin", "previous", "no release previous", "on it: 1.1.0"),
        ("pin", "", "no release  on", "on it: 1.1.0"),
        ("unpin", "1.1.0", "1.1.0 is not pinned", "pinned: nothing"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(robot: Robot, verb: str, name: str, said: str, hint: str) -> None:
    robot.on("1")
    before = robot.journal
    with pytest.raises(Rejected, match=said) as caught:
        answer(robot.updater, PowerKeeper(Nvpmodel(robot.root), Rules, print), {"verb": verb, "release": name})
    assert (caught.value.kind, caught.value.hint) == ("refused", hint)
    assert robot.journal == before


def test_a_robot_without_a_release_has_nothing_to_pin(robot: Robot, tmp_path: Path) -> None:
    with pytest.raises(Rejected) as caught:
        pin(robot, "current")
    assert caught.value.hint == "roll one out first"
