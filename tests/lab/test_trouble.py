"""What goes wrong outside: each ends with the right exit code and a sentence that helps, and the next run goes on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fleetbox.running import RunningLab

from tests.lab.bays import WorkerBay
from tests.lab.road import Road
from tests.lab.site import Site, finish

OUTSIDE = pytest.mark.xdist_group("lab-outside")
FLEET = pytest.mark.xdist_group("lab-fleet")
ONE = pytest.mark.xdist_group("lab-trouble-one")
ROBOT = "scout-001"


@pytest.fixture
def site(bay: WorkerBay) -> Site:
    """One robot on 1.0.0."""
    return bay.on_first(ROBOT).site


@pytest.fixture
def empty_site(lab: RunningLab, tmp_path: Path) -> Site:
    """A manifest of one group of robots, of which the registry has nothing yet."""
    site = Site.create(lab, tmp_path / "manifests", f"trouble-{time.time_ns()}")
    manifest = site.manifest()
    manifest["robots"] = [robot for robot in manifest["robots"] if robot["group"] == "scout"]
    manifest["groups"] = {"scout": manifest["groups"]["scout"]}
    site.save(manifest)
    return site


@pytest.fixture(scope="module")
def without_registry(bay: WorkerBay) -> Road:
    """A checkout whose registry has stopped."""
    made = bay.road()
    own = bay.with_own_registry()
    made.site.move(f"{own.registry}/{made.site.prefix}")
    own.stop_registry()
    return made


def wait_until(what: str, condition: Callable[[], Any], deadline_s: float = 240.0) -> None:
    ends = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < ends, f"{what} did not come within {deadline_s:g} s"
        time.sleep(0.05)


# ── registry ─────────────────────────────────────────────────────────────────────────────────────────────────────


@OUTSIDE
@pytest.mark.parametrize("verb", [["plan", "--no-robots"], ["publish"], ["rollout", "--yes"]])
def test_registry_down(without_registry: Road, verb: list[str]) -> None:
    site = without_registry.site
    result = site.fleet(*verb, code=3)
    assert site.manifest()["registry"]["address"].partition("/")[0] in result.stderr
    assert "→" in result.stderr


@OUTSIDE
def test_a_version_that_is_not_there_names_those_that_are(road: Road) -> None:
    result = road.site.fleet("rollout", "9.9.9", "--yes", code=2)
    assert "no release 9.9.9" in result.stderr
    assert "published: " in result.stderr
    assert road.site.fleet_json("history")["published"][-1] in result.stderr


# ── builder ──────────────────────────────────────────────────────────────────────────────────────────────────────


@OUTSIDE
def test_docker_down_on_the_builder(empty_site: Site, tmp_path: Path) -> None:
    empty_site.environment["DOCKER_HOST"] = f"unix://{tmp_path}/no-docker.sock"
    result = empty_site.fleet("build", code=3)
    assert "no-docker.sock" in result.stderr
    assert "→" in result.stderr


@OUTSIDE
def test_ctrl_c_while_building_leaves_no_container_and_the_next_run_builds(empty_site: Site, tmp_path: Path) -> None:
    client = empty_site.lab.lab.client
    empty_site.lock_alone(tmp_path / "cache")
    ours: dict[str, Any] = {"label": f"io.jetfleet.owner={empty_site.owner()}"}
    process = empty_site.start("build")
    wait_until(
        "a builder container",
        lambda: process.poll() is not None or client.containers.list(filters=ours, ignore_removed=True),
    )
    assert process.poll() is None, "the build ended before it could be interrupted"
    os.killpg(process.pid, signal.SIGINT)
    result = finish(process, 3)
    assert "run the same command again" in result.stderr
    assert client.containers.list(all=True, filters=ours, ignore_removed=True) == []
    assert len(empty_site.fleet_json("build")["built"]) == 1
    assert empty_site.fleet_json("build")["built"] == []


# ── robots ───────────────────────────────────────────────────────────────────────────────────────────────────────


@FLEET
def test_an_offline_robot_is_counted_apart_and_caught_up_later(on_first: Road) -> None:
    site = on_first.site
    site.lab.power_off("scout-001")
    result = site.fleet_json("rollout", "1.1.0", "--yes", code=6)
    outcomes = {robot["name"]: robot["outcome"] for robot in result["robots"]}
    assert outcomes == {"amr-001": "committed", "amr-002": "committed", "scout-001": "offline"}
    assert site.status()["scout-001"]["state"] == "offline"

    site.lab.power_on("scout-001")
    site.fleet("rollout", "1.1.0", "--yes")
    assert set(site.releases().values()) == {"1.1.0"}


@ONE
def test_a_changed_host_key_is_refused(site: Site) -> None:
    path = site.folder / "known_hosts"
    pinned = path.read_text(encoding="utf-8")
    lines = pinned.splitlines()
    mine = next(line for line in lines if line.startswith(ROBOT))
    other = next(line for line in lines if line.startswith("amr-002"))
    forged = " ".join([mine.split(" ", 1)[0], other.split(" ", 1)[1]])
    path.write_text(pinned.replace(mine, forged), encoding="utf-8")
    result = site.fleet("exec", "--robots", ROBOT, "--", "true", code=3)
    assert ROBOT in result.stdout + result.stderr
    assert "key" in result.stdout + result.stderr
    site.fleet("rollout", "1.1.0", "--yes", "--robots", ROBOT, code=(3, 4))
    assert site.lab.exec(ROBOT, ["fleet-updater", "status"]).exit_code == 0
    path.write_text(pinned, encoding="utf-8")
    assert site.releases()[ROBOT] == "1.0.0"


@ONE
def test_a_robot_without_its_engine_refuses_and_keeps_its_release(site: Site) -> None:
    site.lab.stop_inner_engine("scout-001")
    result = site.fleet_json("rollout", "1.1.0", "--yes", "--robots", "scout-001", code=4)
    (robot,) = result["robots"]
    assert robot["outcome"] == "refused"
    assert "Engine" in robot["reason"] or "Docker" in robot["reason"]
    site.lab.start_inner_engine("scout-001")
    assert site.until_well()["scout-001"]["release"] == "1.0.0"


@ONE
def test_a_full_disk_is_refused_with_both_numbers_before_anything_is_fetched(site: Site) -> None:
    site.lab.shrink_disk("scout-001", 60)
    result = site.fleet_json("rollout", "1.1.0", "--yes", "--robots", "scout-001", code=4)
    (robot,) = result["robots"]
    assert robot["outcome"] == "refused"
    assert robot["reason"].count("MB") >= 2 or robot["reason"].count("MiB") >= 2, robot["reason"]


@OUTSIDE
def test_a_wrong_selector_names_what_there_is(road: Road) -> None:
    result = road.site.fleet("status", "--robots", "amr-0001", code=2)
    assert "amr-001" in result.stderr


# ── interrupted rollouts ─────────────────────────────────────────────────────────────────────────────────────────


@ONE
def test_ctrl_c_in_a_rollout_sends_the_robot_back_and_the_next_run_finishes(site: Site) -> None:
    process = site.start("rollout", "1.1.0", "--yes", "--robots", "scout-001")
    _wait_for_transaction(site, "scout-001")
    os.killpg(process.pid, signal.SIGINT)
    finish(process, (3, 4))
    _wait_idle(site, "scout-001")
    site.until_well()
    site.fleet("rollout", "1.1.0", "--yes", "--robots", "scout-001", "--force")
    assert site.releases()["scout-001"] == "1.1.0"


@ONE
def test_a_controller_that_dies_strands_nobody(bay: WorkerBay) -> None:
    site = bay.on_first(ROBOT, version="1.0.0").site
    # The robot waits so long for a word of its controller before it goes back.
    manifest = site.manifest()
    manifest["rollout"]["confirm_timeout"] = "3s"
    site.save(manifest)
    site.set_version("1.0.1", scout="int8")
    site.fleet("publish")
    process = site.start("rollout", "1.0.1", "--yes", "--robots", "scout-001")
    _wait_for_transaction(site, "scout-001")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()

    # Nobody confirms, so the robot goes back by itself.
    _wait_idle(site, "scout-001")
    assert site.until_well()["scout-001"]["release"] == "1.0.0"

    # The dead controller's lease is still there: somebody else is told who has it, and may break it.
    result = site.fleet("rollout", "1.1.0", "--yes", "--robots", ROBOT, code=5)
    assert "fleet lock steal" in result.stderr
    site.fleet("lock", "steal")
    site.fleet("rollout", "1.1.0", "--yes", "--force", "--robots", ROBOT)
    assert site.releases() == {ROBOT: "1.1.0"}


def _wait_for_transaction(site: Site, robot: str) -> None:
    def busy() -> bool:
        state = site.lab.ask_updater(robot, "status")
        return state is not None and state["state"] != "idle"

    wait_until(f"{robot}'s transaction", busy, 60)


def _wait_idle(site: Site, robot: str) -> None:
    wait_until(
        f"the end of {robot}'s transaction",
        lambda: (site.lab.ask_updater(robot, "status") or {}).get("state") == "idle",
        240,
    )
