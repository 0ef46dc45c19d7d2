"""`fleet verify` against robots on real parts: what works passes, what is broken is named."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.bays import WorkerBay
from tests.lab.road import Road
from tests.lab.site import Site

ROBOT = "amr-001"
CHECKS = ["release", "registry", "engine", "model", "sensors", "inference", "outputs"]


pytestmark = pytest.mark.xdist_group("lab-verify")


@pytest.fixture
def site(on_first: Road) -> Site:
    """All robots on 1.0.0 and well."""
    return on_first.site


def rows(document: Any) -> dict[str, dict[str, Any]]:
    return {robot["name"]: robot for robot in document["robots"]}


def failed(robot: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["reason"] for check in robot["checks"] if not check["passed"]}


def test_robots_that_work_pass_every_check(site: Site) -> None:
    document = site.fleet_json("verify")
    for name, robot in rows(document).items():
        assert failed(robot) == {}, name
        assert [check["name"] for check in robot["checks"]] == CHECKS
        assert robot["release"] == "1.0.0"
    assert document["passed"]


def test_another_release_is_not_what_runs(site: Site) -> None:
    robots = rows(site.fleet_json("verify", "1.1.0", code=4))
    assert failed(robots["amr-001"]) == {}  # 1.1.0 changes only the scout
    assert "release" in failed(robots["scout-001"])


def test_an_offline_robot_is_exit_6(site: Site) -> None:
    site.lab.power_off("scout-001")
    document = site.fleet_json("verify", code=6)
    assert rows(document)["scout-001"]["state"] == "offline"
    assert rows(document)["amr-001"]["state"] == "passed"


HANG = """
import json, os, pathlib, signal, time, urllib.request
hung = pathlib.Path("/dev/shm/jetfleet-test-hung")
def executor():
    with urllib.request.urlopen("http://127.0.0.1:9310/report") as answer:
        return json.load(answer)["executor"]["pid"]
while True:
    pid = executor()
    if pid is not None:
        os.kill(pid, signal.SIGSTOP)
        hung.touch()
    time.sleep(0.2)
"""
"""In the runtime container: stops every executor that the agent starts, for ever."""


@pytest.fixture
def hung(bay: WorkerBay, site: Site) -> Iterator[Site]:
    """The first robot's executor takes no frames and publishes nothing, however often it is restarted."""
    container = site.container("amr-001")
    site.lab.exec("amr-001", ["docker", "exec", "--detach", container, "python3", "-c", HANG]).check()
    ends = time.monotonic() + 180
    while site.lab.exec(
        "amr-001", ["docker", "exec", container, "test", "-e", "/dev/shm/jetfleet-test-hung"]
    ).exit_code:
        assert time.monotonic() < ends, "the executor was not stopped within 180 s"
        time.sleep(0.1)
    yield site
    # What the container sleeps through has no other witness: the robot is made from nothing for the next test.
    bay.forget(ROBOT)


def test_a_robot_whose_executor_hangs_fails_and_the_others_pass(hung: Site) -> None:
    robots = rows(hung.fleet_json("verify", code=4))
    assert {"inference"} <= set(failed(robots["amr-001"]))
    assert failed(robots["amr-002"]) == {}


def test_by_hand_on_the_robot(site: Site) -> None:
    output = site.lab.exec("amr-001", ["fleet-updater", "verify", "--seconds", "3"], deadline_s=120)
    assert '"verification_json"' in output.check()
