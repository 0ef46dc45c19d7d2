"""`fleet verify` against robots on real parts: what works passes, what is broken is named."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.road import Road
from tests.lab.site import CONTAINER, Site

CHECKS = ["release", "engine", "model", "sensors", "inference", "outputs"]


@pytest.fixture
def site(on_first: Road) -> Iterator[Site]:
    """All robots on 1.0.0 and well; whatever a test broke is mended afterwards."""
    on_first.site.until_well()
    yield on_first.site
    on_first.site.lab.mend()


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


def test_a_robot_whose_executor_hangs_fails_and_the_others_pass(site: Site) -> None:
    """Stopped, the executor takes no frames and publishes nothing, until the agent ends it."""
    stop = "import os, signal, urllib.request as u, json; "
    stop += "r = json.load(u.urlopen('http://127.0.0.1:9310/report')); os.kill(r['executor']['pid'], signal.SIGSTOP)"
    site.lab.exec("amr-001", ["docker", "exec", CONTAINER, "python3", "-c", stop]).check()
    robots = rows(site.fleet_json("verify", code=4))
    assert {"inference"} <= set(failed(robots["amr-001"]))
    assert failed(robots["amr-002"]) == {}
    site.until_well()
    assert site.fleet_json("verify")["passed"]


def test_by_hand_on_the_robot(site: Site) -> None:
    output = site.lab.exec("amr-001", ["fleet-updater", "verify", "--seconds", "3"], deadline_s=120)
    assert '"verification_json"' in output.check()
