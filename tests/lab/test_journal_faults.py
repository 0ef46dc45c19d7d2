"""What keeps a journal from being written or believed: a full disk, a torn file, a clock that was set back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from runtime.contract.robot.update import ROBOT_DIR
from tests.lab.faults.releases import GOOD, Releases, publish_releases
from tests.lab.faults.robot import KillRobot
from tests.lab.road import Road

STATE = f"{ROBOT_DIR}/state"
YEAR_S = 366 * 86400.0


@pytest.fixture(scope="module")
def releases(road: Road, tmp_path_factory: pytest.TempPathFactory) -> Releases:
    road.site.lab.repair()
    road.site.fleet("bootstrap")
    return publish_releases(road, tmp_path_factory.mktemp("faults") / "manifests")


@pytest.fixture
def robot(releases: Releases) -> Iterator[KillRobot]:
    """A robot on the first good release; whatever was done to it is mended afterwards."""
    found = KillRobot(releases.site.lab, "scout-001")
    found.bring(releases.order(found.name, GOOD[0]))
    yield found
    found.set_free()
    releases.site.lab.repair()


@pytest.fixture
def small_disk(robot: KillRobot) -> Iterator[KillRobot]:
    """The robot's journal lies on a volume of 1 MiB of its own."""
    lab, copy = robot.lab, "/run/jetfleet-lab/state"
    lab.stop_service(robot.name, "updater")
    robot.shell(f"rm -rf {copy}; cp -a {STATE} {copy}; mount -t tmpfs -o size=1m small-state {STATE}")
    robot.shell(f"cp -a {copy}/. {STATE}/")
    lab.start_service(robot.name, "updater")
    robot.until("the updater", robot.state)
    yield robot
    robot.set_free()
    lab.stop_service(robot.name, "updater")
    robot.shell(f"rm -rf {copy}; cp -a {STATE} {copy}; umount --lazy {STATE}; rm -f {copy}/filler")
    robot.shell(f"rm -rf {STATE}/* && cp -a {copy}/. {STATE}/")
    lab.start_service(robot.name, "updater")


def fill(robot: KillRobot) -> None:
    """Leave not one byte on the journal's volume."""
    robot.shell(f"cat /dev/zero > {STATE}/filler 2> /dev/null || true")
    assert robot.shell(f"df --output=avail {STATE}").split()[-1] == "0"


def test_a_disk_that_fills_up_in_probation_costs_the_reserve_and_not_the_order(
    small_disk: KillRobot, releases: Releases
) -> None:
    robot, order = small_disk, releases.order("scout-001", GOOD[1])
    robot.hold_at("probation", "after")
    robot.submit(order)
    robot.until("probation", robot.stopped)
    fill(robot)
    robot.go()
    state = robot.finish(order)
    assert (state.outcome, state.current and state.current.version) == ("committed", GOOD[1])
    assert robot.lab.exec(robot.name, ["test", "-e", f"{STATE}/reserve"]).exit_code == 1
    assert robot.half_states() == []


def test_a_disk_that_is_full_at_the_start_keeps_the_updater_answering_and_waiting(
    small_disk: KillRobot, releases: Releases
) -> None:
    robot, order = small_disk, releases.order("scout-001", GOOD[1])
    robot.hold_at("switching", "after")
    robot.submit(order)
    robot.until("the switch", robot.stopped)
    robot.shell(f"rm {STATE}/reserve")
    fill(robot)
    robot.set_free()
    state = robot.until("an answer", robot.state)
    assert (state.state, state.order_id) == ("switching", order.order_id)
    assert robot.containers() == [(releases.image("scout-001", GOOD[0]), "running")]
    said = "No space left on device"
    robot.until("its complaint", lambda: said in robot.shell("tail -3 /var/log/jetfleet-lab/updater.log"))
    robot.shell(f"rm {STATE}/filler")
    state = robot.finish(order)
    assert (state.outcome, robot.half_states()) == ("committed", [])
    assert robot.shell(f"stat -c %s {STATE}/reserve").strip() == str(256 * 1024)


@pytest.mark.parametrize("damage", ["truncate -s 100", "truncate -s 0", "sed -i s/tries/trees/"])
def test_a_torn_journal_is_set_aside_and_the_transition_before_it_goes_on(
    robot: KillRobot, releases: Releases, damage: str
) -> None:
    order = releases.order("scout-001", GOOD[1])
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
    order = releases.order("scout-001", GOOD[1])
    robot.hold_at("never", "before", clock_s=-YEAR_S)
    state = robot.finish(order)
    assert (state.outcome, state.current and state.current.version) == ("refused", GOOD[0])
    assert "the robot's clock is 366.0 days behind the controller's" in state.reason
    assert robot.half_states() == []


@pytest.mark.parametrize("moment", ["switching", "probation", "awaiting"])
def test_a_clock_set_back_a_year_while_the_updater_was_dead_ends_whole(
    robot: KillRobot, releases: Releases, moment: str
) -> None:
    order = releases.order("scout-001", GOOD[1])
    robot.hold_at(moment, "after")
    robot.submit(order)
    robot.until("the transition", robot.stopped)
    robot.hold_at("never", "before", clock_s=-YEAR_S)
    state = robot.finish(order)
    assert (state.outcome, robot.half_states()) == ("committed", [])
