"""A robot of a bay begins as it was kept, whatever a test before did to it, and harms nobody else's."""

from __future__ import annotations

import pytest
from fleetbox.spec import LabSpec

from tests.lab.bays import WorkerBay, claimed_bay

pytestmark = pytest.mark.xdist_group("lab-bays")

ROBOT = "scout-001"
RUIN = """
docker rm --force $(docker ps --all --quiet); docker image rm --force $(docker image ls --all --quiet)
rm -rf /var/lib/jetfleet/state /var/lib/jetfleet/updater /usr/local/bin/fleet-updater /home/jetson/.ssh
touch /run/jetfleet-lab/sshd.hold; ip route del default
"""


def test_a_robot_that_nobody_touched_is_left_alone(bay: WorkerBay) -> None:
    bay.put(ROBOT)
    before = bay.bay.lab.container(ROBOT).id
    bay.put(ROBOT)
    assert bay.bay.lab.container(ROBOT).id == before


def test_a_ruined_robot_is_made_from_its_state_and_the_state_is_unharmed(bay: WorkerBay) -> None:
    site = bay.on_first(ROBOT).site
    began = bay.bay.lab.container(ROBOT).id
    bay.running.exec(ROBOT, ["sh", "-c", RUIN], deadline_s=120)
    again = bay.on_first(ROBOT).site
    assert bay.bay.lab.container(ROBOT).id != began
    assert again.releases() == {ROBOT: "1.0.0"}
    assert again.prefix != site.prefix
    assert bay.running.exec(ROBOT, ["sh", "-c", ": > /states/*/docker/x"]).exit_code != 0, "a state can be written to"


def test_a_rollout_that_a_test_left_in_progress_ends_with_it(bay: WorkerBay) -> None:
    """Neither the order nor the rollout's lock is there for the next test."""
    process = bay.on_first(ROBOT).site.start("rollout", "1.1.0", "--yes", "--robots", ROBOT)
    while (bay.running.ask_updater(ROBOT, "status") or {"state": "idle"})["state"] == "idle":
        assert process.poll() is None, process.communicate()
    process.kill()
    process.communicate()
    site = bay.on_first(ROBOT).site
    assert site.releases() == {ROBOT: "1.0.0"}
    site.fleet("rollout", "1.1.0", "--yes", "--robots", ROBOT)


def test_a_kept_state_is_where_a_robot_was_and_stands_on_the_first(bay: WorkerBay) -> None:
    bay.put(ROBOT)
    bay.running.exec(ROBOT, ["sh", "-c", "echo mine > /var/lib/jetfleet/mine"]).check()
    bay.keep(ROBOT, "marked")
    assert bay.running.exec(ROBOT, ["cat", "/var/lib/jetfleet/mine"]).check() == "mine\n"
    bay.put(ROBOT)
    assert bay.running.exec(ROBOT, ["test", "-e", "/var/lib/jetfleet/mine"]).exit_code == 1
    bay.put(ROBOT, state="marked")
    assert bay.running.exec(ROBOT, ["cat", "/var/lib/jetfleet/mine"]).check() == "mine\n"


def test_a_bay_in_use_is_not_given_away(bay: WorkerBay, tmp_path_factory: pytest.TempPathFactory) -> None:
    with claimed_bay(LabSpec.from_environment(), tmp_path_factory.mktemp("second"), "second") as other:
        assert other.bay.spec.bay != bay.bay.spec.bay
        mine, theirs = set(bay.running.robots.values()), set(other.running.robots.values())
        assert mine.isdisjoint(theirs)
        assert bay.running.registry == other.running.registry
