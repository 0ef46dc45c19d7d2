"""A few cases of the kill matrix; all of it is `faults/long_kill_matrix.py`, in `make test-long`."""

from __future__ import annotations

import pytest

from tests.lab.bays import WorkerBay
from tests.lab.faults.matrix import AFTER, BEFORE, ENGINE, ROBOT, STOPPED, UPDATER, Case, report, run_matrix
from tests.lab.faults.releases import publish_releases

pytestmark = pytest.mark.xdist_group("lab-kill")

#: Every victim, both releases, both ways to take over, before and after what is written down.
REDUCED = (
    Case("good", "handed", AFTER, ROBOT),
    Case("bad", "returning", BEFORE, UPDATER),
    Case("good", "stop-start", AFTER, ENGINE, STOPPED),
    Case("bad", "probation", AFTER, ROBOT, STOPPED),
)


@pytest.mark.timeout(1800)
def test_killed_at_a_transition_the_robot_is_wholly_old_or_wholly_new(bay: WorkerBay) -> None:
    releases = publish_releases(bay.on_first("amr-001", "scout-001", version="1.0.0"))
    seen = run_matrix(releases, REDUCED, bay.put_alone)
    print(report(seen))
    assert [str(each) for each in seen if each.wrong] == []
    assert len(seen) == len(REDUCED)
