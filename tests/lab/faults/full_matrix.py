"""The whole kill matrix: `make faults` names this file; the ordinary run of the tests does not collect it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.faults.matrix import every_case, report, run_matrix
from tests.lab.faults.releases import publish_releases
from tests.lab.road import Road


@pytest.mark.timeout(3 * 3600)
def test_killed_anywhere_the_robot_is_wholly_old_or_wholly_new(on_first: Road, tmp_path: Path) -> None:
    releases, cases = publish_releases(on_first, tmp_path / "manifests"), every_case()
    try:
        seen = run_matrix(releases, cases)
    finally:
        releases.site.lab.repair()
    print(report(seen))
    assert [str(each) for each in seen if each.wrong] == []
    assert len(seen) == len(cases)
