"""Tables of many robots: groups with counts and examples; every row when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import pytest

from fleet.cli.commands import status
from fleet.cli.rollout_flow import render_result
from fleet.cli.ui import console, rows
from fleet.oci.releases import PublishedRelease
from fleet.rollout.gate import Outcome
from fleet.rollout.result import RobotResult, RolloutResult
from tests.unit.cli.conftest import Desk

MANY = 200


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    rows.want_every(False)


def _result() -> RolloutResult:
    made = [RobotResult(f"r{number:03}", Outcome.COMMITTED, wave=1, seconds=float(number)) for number in range(190)]
    made += [RobotResult(f"r{number}", Outcome.OFFLINE, f"10.0.0.{number} is silent") for number in range(190, 199)]
    made.append(RobotResult("r199", Outcome.REVERTED, "self-test cosine 0.08 < 0.999", wave=1, seconds=5.0))
    return RolloutResult("1.1.0", tuple(made), (), 1)


@pytest.fixture
def release() -> PublishedRelease:
    """All that is printed of it."""
    return cast(PublishedRelease, SimpleNamespace(version="1.1.0"))


def _printed(release: PublishedRelease, capsys: pytest.CaptureFixture[str]) -> list[str]:
    capsys.readouterr()
    render_result(console.stdout(), release, _result(), ())
    return capsys.readouterr().out.splitlines()


def test_a_rollout_of_many_ends_with_one_row_for_those_that_ended_alike(
    release: PublishedRelease, capsys: pytest.CaptureFixture[str]
) -> None:
    _, *groups, total = _printed(release, capsys)
    assert [line.split()[:2] for line in groups] == [["190", "committed"], ["9", "offline"], ["1", "reverted"]]
    assert "189.0 s" in groups[0]
    assert "r190, r191, r192 and 6 more" in groups[1]
    assert "10.0.0.190 is silent" in groups[1]
    assert groups[2].split()[-6:] == ["r199", "self-test", "cosine", "0.08", "<", "0.999"]
    assert "190 committed" in total


def test_every_row_is_there_when_it_is_asked_for(release: PublishedRelease, capsys: pytest.CaptureFixture[str]) -> None:
    rows.want_every(True)
    assert sum(line.startswith("r") for line in _printed(release, capsys)) >= MANY


def test_a_status_of_many_says_how_many_are_alike_and_the_total(capsys: pytest.CaptureFixture[str]) -> None:
    row = {
        "state": "idle", "release": "1.0.0", "health": "ok", "unsigned": None, "signed_by": [], "root": 1,
        "login": None, "stale": None, "held": None, "checks": [], "outcome": "committed", "reason": None, "error": None,
    }  # fmt: skip
    found = [row | {"name": f"r{number}"} for number in range(MANY - 1)]
    found.append(row | {"name": "r199", "state": "offline", "release": None, "error": "host-199 did not answer"})
    console.stdout().print(status._groups(found))
    text = capsys.readouterr().out.splitlines()
    assert text[1].split()[:4] == ["199", "idle", "1.0.0", "ok"]
    assert text[2].split()[:4] == ["1", "offline", "none", "offline"]
    assert "host-199 did not answer" in text[2]
    assert rows.totals(map(status._standing, found)) == "200 robots: 199 on 1.0.0 · 1 offline"


def test_a_total_stands_below_every_status(desk: Desk) -> None:
    assert "3 robots: 3 unknown" in desk.fleet("status", code=3).out


@pytest.mark.parametrize(("count", "every", "summary"), [(40, False, False), (41, False, True), (10_000, True, False)])
def test_up_to_forty_rows_are_printed(count: int, every: bool, summary: bool) -> None:
    rows.want_every(every)
    assert rows.are_many(count) is summary
