"""A few cases of the kill matrix, for every run of CI; `make faults` runs all of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.faults.matrix import AFTER, BEFORE, ENGINE, ROBOT, STOPPED, UPDATER, Case, report, run_matrix
from tests.lab.faults.releases import publish_releases
from tests.lab.road import Road

#: Every victim, on the way to both releases, by both ways to take over, around what changes something on the robot.
REDUCED = (
    Case("good", "standby", AFTER, ROBOT),
    Case("bad", "reverting", AFTER, UPDATER),
    Case("good", "handed", BEFORE, UPDATER),
    Case("bad", "fetching", AFTER, ENGINE),
    Case("good", "handed", AFTER, ROBOT),
    Case("bad", "probation", AFTER, ROBOT, STOPPED),
    Case("good", "stop-start", AFTER, ENGINE, STOPPED),
    Case("bad", "returning", BEFORE, ROBOT),
    Case("good", "ended", BEFORE, UPDATER),
    Case("bad", "ended", AFTER, ENGINE, STOPPED),
)


@pytest.mark.timeout(1800)
def test_killed_at_a_transition_the_robot_is_wholly_old_or_wholly_new(on_first: Road, tmp_path: Path) -> None:
    releases = publish_releases(on_first, tmp_path / "manifests")
    try:
        seen = run_matrix(releases, REDUCED)
    finally:
        releases.site.lab.repair()
    print(report(seen))
    assert [str(each) for each in seen if each.wrong] == []
    assert len(seen) == len(REDUCED)
