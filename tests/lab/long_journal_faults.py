"""The journal's faults at every moment and with every damage; one of each kind is in `test_journal_faults.py`."""

from __future__ import annotations

import pytest

from tests.lab.faults.releases import Releases
from tests.lab.faults.robot import KillRobot
from tests.lab.test_journal_faults import set_back_at, tear_in_probation

pytestmark = pytest.mark.xdist_group("lab-journal-long")


@pytest.mark.parametrize("damage", ["truncate -s 0", "sed -i s/tries/trees/"])
def test_a_torn_journal_is_set_aside_and_the_transition_before_it_goes_on(
    robot: KillRobot, releases: Releases, damage: str
) -> None:
    tear_in_probation(robot, releases, damage)


@pytest.mark.parametrize("moment", ["switching", "awaiting"])
def test_a_clock_set_back_a_year_while_the_updater_was_dead_ends_whole(
    robot: KillRobot, releases: Releases, moment: str
) -> None:
    set_back_at(robot, releases, moment)
