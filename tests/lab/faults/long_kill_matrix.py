"""The whole kill matrix, in parts. Each case that has ended whole on this commit is kept, and not run again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.harness.long import ENV_PART, PART_DEADLINE_S, RESULTS, ROOT, commit
from tests.lab.bays import WorkerBay
from tests.lab.faults.matrix import Case, Seen, every_case, report, run_matrix
from tests.lab.faults.releases import publish_releases

LONG_PARTS = 6
"""Each a quarter of an hour on two quiet cores."""


def part_of(cases: Sequence[Case]) -> list[Case]:
    """Return every n-th case, as JETFLEET_PART says; all without it."""
    number, _, count = os.environ.get(ENV_PART, "1/1").partition("/")
    return list(cases[int(number) - 1 :: int(count)])


class Kept:
    """The cases that ended whole, a JSON line each."""

    def __init__(self, path: Path, at: str) -> None:
        self._path, self._at = path, at
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        found = [json.loads(line) for line in lines if line.endswith("}")]
        self.cases = [Case(**each["case"]) for each in found if each["commit"] == at]

    def keep(self, seen: Seen) -> None:
        """Write one down, if it is whole."""
        if not seen.wrong:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"commit": self._at, **asdict(seen)}) + "\n")


@pytest.mark.xdist_group("lab-kill-matrix")
@pytest.mark.timeout(int(PART_DEADLINE_S))
def test_killed_anywhere_the_robot_is_wholly_old_or_wholly_new(bay: WorkerBay) -> None:
    kept = Kept(ROOT / RESULTS / "kill_matrix-cases.jsonl", commit(ROOT))
    mine = part_of(every_case())
    left = [case for case in mine if case not in kept.cases]
    print(f"{len(mine)} cases, {len(mine) - len(left)} of them whole on this commit already")
    releases = publish_releases(bay.on_first(version="1.0.0"))
    put: Callable[[str], None] = bay.put_alone
    seen = run_matrix(releases, left, put, kept.keep)
    print(report(seen))
    assert [str(each) for each in seen if each.wrong] == []
    assert len(seen) == len(left)
