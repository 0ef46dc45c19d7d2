"""Which worker takes which test, with the real scheduler of pytest-xdist over workers that only write down."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.harness import tiers
from tests.harness.report import TierReport

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("nodeid", "name"),
    [
        ("tests/lab/test_road.py::test_one[a/b]", "lab"),
        ("tests/lab/faults/long_matrix.py::test_one", "lab"),
        ("tests/unit/cli/test_x.py::Test::test_y", "unit"),
        ("elsewhere/test_x.py::test_y", "elsewhere"),
    ],
)
def test_a_tests_tier_is_its_folder(nodeid: str, name: str) -> None:
    assert tiers.tier(nodeid) == name


def test_the_lab_comes_first_and_a_worker_without_robots_never_takes_it() -> None:
    scopes = ["tests/unit/a.py::t", "tests/contract/b.py::t", "lab-fetch", "tests/lab/c.py::t"]
    assert tiers.choose(scopes, takes_lab=True) == "lab-fetch"
    assert tiers.choose(scopes, takes_lab=False) == "tests/contract/b.py::t"
    assert tiers.choose(["lab-fetch"], takes_lab=False) is None
    assert tiers.choose([], takes_lab=True) is None


class Worker:
    """What the scheduler asks of a worker; runs nothing."""

    def __init__(self, number: int) -> None:
        self.gateway = SimpleNamespace(id=f"gw{number}")
        self.given: list[int] = []
        self.shutting_down = False

    def send_runtest_some(self, indices: list[int]) -> None:
        self.given += indices

    def shutdown(self) -> None:
        self.shutting_down = True


def _scheduler(monkeypatch: pytest.MonkeyPatch, workers: list[Worker], lab_workers: int, tests: list[str]) -> Any:
    schedule = pytest.importorskip("tests.harness.schedule", reason="needs pytest-xdist")
    monkeypatch.setenv(schedule.LAB_WORKERS, str(lab_workers))
    option = SimpleNamespace(loadscopereorder=True, maxworkerrestart=None, dist="loadgroup")
    config = SimpleNamespace(option=option, getvalue=lambda name: [f"{len(workers)}*popen"], getoption=lambda *_: None)
    found = schedule.TierScheduling(config)
    for worker in workers:
        found.add_node(worker)
        found.add_node_collection(worker, tests)
    return found


def _run_all(scheduler: Any, workers: list[Worker], tests: list[str]) -> dict[str, str]:
    """Run what workers are given, in turn, until all have ended; return test → worker."""
    ran: dict[str, str] = {}
    scheduler.schedule()
    moved = True
    while moved:
        moved = False
        for worker in workers:
            if worker.given:
                index = worker.given.pop(0)
                assert tests[index] not in ran
                ran[tests[index]] = worker.gateway.id
                scheduler.mark_test_complete(worker, index)
                moved = True
    return ran


def test_every_test_runs_once_groups_stay_together_and_lab_tests_stay_where_robots_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lab = [f"tests/lab/test_a.py::t{n}" for n in range(6)]
    group = [f"tests/lab/test_b.py::t{n}@lab-b" for n in range(5)]
    unit = [f"tests/unit/test_c.py::t{n}" for n in range(40)]
    tests, workers = [*lab, *group, *unit], [Worker(n) for n in range(3)]
    ran = _run_all(_scheduler(monkeypatch, workers, 2, tests), workers, tests)
    assert set(ran) == set(tests)
    assert {ran[test] for test in (*lab, *group)} == {"gw0", "gw1"}
    assert len({ran[test] for test in group}) == 1
    assert all(worker.shutting_down for worker in workers)


def test_a_worker_that_replaces_a_crashed_one_takes_lab_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    tests = [f"tests/lab/test_a.py::t{n}" for n in range(12)]
    workers = [Worker(0)]
    scheduler = _scheduler(monkeypatch, workers, 1, tests)
    scheduler.schedule()
    crashed = scheduler.remove_node(workers[0])
    assert crashed == tests[0]
    replacement = Worker(1)
    scheduler.add_node(replacement)
    scheduler.add_node_collection(replacement, tests)
    assert set(_run_all(scheduler, [replacement], tests)) == set(tests)


def test_the_report_adds_up_by_tier() -> None:
    report = TierReport()
    for when, seconds in (("setup", 1.0), ("call", 2.0), ("teardown", 0.5)):
        report.pytest_runtest_logreport(
            pytest.TestReport("tests/lab/test_a.py::t", ("", 0, ""), {}, "passed", None, when, duration=seconds)  # type: ignore[arg-type]
        )
    first, together, *_ = report.lines()
    assert first.split() == ["lab", "1", "tests", "3.5", "s"]
    assert together.split()[:4] == ["together", "1", "tests", "3.5"]


def test_tests_of_one_group_go_to_one_worker(tmp_path: Path) -> None:
    """With the real pytest-xdist, whatever versions of it and of pytest are installed."""
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_collection_modifyitems\n")
    body = "import os\nimport pytest\n@pytest.mark.xdist_group('unit-pair')\n@pytest.mark.parametrize('n', range(12))\n"
    body += (
        f"def test(n):\n    with open({str(tmp_path / 'ran')!r}, 'a') as file:\n        print(os.getpid(), file=file)\n"
    )
    (tmp_path / "test_group.py").write_text(body)
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadgroup", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_TESTRUNUID", "PYTEST_ADDOPTS"):
        environment.pop(name, None)
    done = subprocess.run(
        [*command, str(tmp_path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ran = (tmp_path / "ran").read_text().split()
    assert (len(ran), len(set(ran))) == (12, 1)


def test_the_longest_group_begins_first_within_its_tier() -> None:
    ids = [
        "tests/unit/test_a.py::t",
        "tests/lab/test_a.py::t",
        "tests/lab/test_trust.py::t[x]",
        "tests/contract/test_a.py::t",
    ]
    assert sorted(ids, key=tiers.begins) == [ids[2], ids[1], ids[3], ids[0]]
