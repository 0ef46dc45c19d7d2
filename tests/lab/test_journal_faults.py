"""What keeps a journal from being written or believed: a full disk, a torn file, a clock that was set back."""

from __future__ import annotations

import pytest

from runtime.contract.robot.update import ROBOT_DIR
from tests.lab.faults.releases import GOOD, Releases
from tests.lab.faults.robot import KillRobot

pytestmark = pytest.mark.xdist_group("lab-journal")

STATE = f"{ROBOT_DIR}/state"
YEAR_S = 366 * 86400.0


@pytest.fixture
def small_disk(robot: KillRobot) -> KillRobot:
    """The robot's journal lies on a volume of 1 MiB of its own."""
    lab, copy = robot.lab, "/run/jetfleet-lab/state"
    lab.stop_service(robot.name, "updater")
    robot.shell(f"rm -rf {copy}; cp -a {STATE} {copy}; mount -t tmpfs -o size=1m small-state {STATE}")
    robot.shell(f"cp -a {copy}/. {STATE}/")
    lab.start_service(robot.name, "updater")
    robot.until("the updater", robot.state)
    return robot


def fill(robot: KillRobot) -> None:
    """Leave not one byte on the journal's volume."""
    robot.shell(f"cat /dev/zero > {STATE}/filler 2> /dev/null || true")
    assert robot.shell(f"df --output=avail {STATE}").split()[-1] == "0"


def test_a_disk_that_fills_up_in_probation_costs_the_reserve_and_not_the_order(
    small_disk: KillRobot, releases: Releases
) -> None:
    robot, order = small_disk, releases.order("scout-001", GOOD[0])
    robot.hold_at("probation", "after")
    robot.submit(order)
    robot.until("probation", robot.stopped)
    fill(robot)
    robot.go()
    state = robot.finish(order)
    assert (state.outcome, state.current and state.current.version) == ("committed", GOOD[0])
    assert robot.lab.exec(robot.name, ["test", "-e", f"{STATE}/reserve"]).exit_code == 1
    assert robot.half_states() == []


def test_a_disk_that_is_full_at_the_start_keeps_the_updater_answering_and_waiting(
    small_disk: KillRobot, releases: Releases
) -> None:
    robot, order = small_disk, releases.order("scout-001", GOOD[0])
    robot.hold_at("switching", "after")
    robot.submit(order)
    robot.until("the switch", robot.stopped)
    robot.shell(f"rm {STATE}/reserve")
    fill(robot)
    robot.set_free()
    state = robot.until("an answer", robot.state)
    assert (state.state, state.order_id) == ("switching", order.order_id)
    current = robot.journal().current
    assert current is not None
    assert robot.containers() == [(current.image, "running")]
    assert current.version == "1.0.0"
    said = "No space left on device"
    robot.until("its complaint", lambda: said in robot.shell("tail -3 /var/log/jetfleet-lab/updater.log"))
    robot.shell(f"rm {STATE}/filler")
    state = robot.finish(order)
    assert (state.outcome, robot.half_states()) == ("committed", [])
    assert robot.shell(f"stat -c %s {STATE}/reserve").strip() == str(256 * 1024)


def test_a_torn_journal_is_set_aside_and_the_transition_before_it_goes_on(robot: KillRobot, releases: Releases) -> None:
    """Other damage: tests/unit/updater/test_journal.py at the reader, `long_journal_faults.py` on a robot."""
    tear_in_probation(robot, releases, "truncate -s 100")


def tear_in_probation(robot: KillRobot, releases: Releases, damage: str) -> None:
    order = releases.order("scout-001", GOOD[0])
    robot.hold_at("probation", "after")
    robot.submit(order)
    robot.until("probation", robot.stopped)
    robot.kill_stopper()
    robot.shell(f"{damage} {STATE}/journal.json")
    robot.set_free()
    state = robot.finish(order)
    assert (state.outcome, robot.half_states()) == ("committed", [])
    assert robot.lab.exec(robot.name, ["test", "-e", f"{STATE}/journal.json.damaged"]).exit_code == 0
    assert "damaged" in robot.shell("tail -40 /var/log/jetfleet-lab/updater.log")


def test_a_clock_a_year_behind_is_refused_with_both_sides(robot: KillRobot, releases: Releases) -> None:
    order = releases.order("scout-001", GOOD[0])
    robot.hold_at("never", "before", clock_s=-YEAR_S)
    state = robot.finish(order)
    assert (state.outcome, state.current and state.current.version) == ("refused", "1.0.0")
    assert "the robot's clock is 366.0 days behind the controller's" in state.reason
    assert robot.half_states() == []


def test_a_clock_set_back_a_year_while_the_updater_was_dead_ends_whole(robot: KillRobot, releases: Releases) -> None:
    """In probation, where time is counted; other moments: `long_journal_faults.py`."""
    set_back_at(robot, releases, "probation")


def set_back_at(robot: KillRobot, releases: Releases, moment: str) -> None:
    order = releases.order("scout-001", GOOD[0])
    robot.hold_at(moment, "after")
    robot.submit(order)
    robot.until("the transition", robot.stopped)
    robot.hold_at("never", "before", clock_s=-YEAR_S)
    state = robot.finish(order)
    assert (state.outcome, robot.half_states()) == ("committed", [])
