"""A robot that pulls, whole: it comes for a release, leaves a bad one by itself, and is taken back by statement.

What forged, replayed and expired statements do is shown with the real daemon in tests/contract/updater/test_pull.py.
"""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleet.cli.desired import office
from fleet.cli.wiring import Wiring
from fleet.oci.releases import load_release
from fleet.signing.desired import Office, first_words, moved_words, publish, read_desired, sign_plan
from runtime.contract.robot.desired import REVERTING, RolloutPlan, Stage
from runtime.contract.robot.trust import Proof, Signed
from tests.harness import share
from tests.lab.bays import WorkerBay
from tests.lab.site import Site

ROBOT = "scout-001"
DAY, DEADLINE_S = 86400.0, 420.0


class PullRobot:
    """The scout, told to pull; nothing reaches it over SSH from then on but the test's own questions."""

    def __init__(self, site: Site) -> None:
        self.site, self.lab = site, site.lab
        manifest = site.manifest()
        registry = manifest["registry"]["address"].partition(":")[0]
        manifest["hub"] = {"url": f"http://{registry}:9"}  # a hub that is away the whole time
        manifest["pull"] = {"poll": "2s"}
        # A busy machine may take long to come back to a robot; how long is not what is shown here.
        manifest["rollout"] |= {"ready_timeout": "180s", "confirm_timeout": "180s"}
        for robot in manifest["robots"]:
            if robot["name"] == ROBOT:
                robot["link"] = "pull"
        site.save(manifest)
        site.fleet("bootstrap", "--robots", ROBOT)
        wiring = Wiring(site.folder)
        self.office: Office = office(wiring)

    @contextmanager
    def hub(self, folder: Path) -> Iterator[None]:
        """Run a hub on this machine, at the address that the robots' network has here."""
        gateway = str(next(ipaddress.ip_network(f"{self.lab.robots[ROBOT]}/24", strict=False).hosts()))
        address = f"{gateway}:{share.free_port()}"
        self.site.save({**self.site.manifest(), "hub": {"url": f"http://{address}"}})
        process = self.site.start("hub", "--listen", address, "--database", str(folder / "hub.sqlite"))
        try:
            yield
        finally:
            process.terminate()
            process.communicate(timeout=60)

    def begin(self, version: str, rollout_id: str, stage: int) -> None:
        release = load_release(self.office.registry, self.office.prefix, version)
        now = float(int(time.time()))
        plan = RolloutPlan(
            release.document.fleet, rollout_id, version, release.digest, (Stage((ROBOT,)),), now, now + 30 * DAY
        )
        signed, missing = sign_plan(self.office, plan, None)
        assert missing == ""
        words = first_words(read_desired(self.office, now), plan, signed.statement, now, DAY)
        publish(self.office, replace(words, stage=stage), signed, Proof(release.text, Signed("")), None)

    def move(self, **changes: Any) -> None:
        found = read_desired(self.office, time.time())
        assert found.plan is not None
        assert found.proof is not None
        publish(self.office, moved_words(found, time.time(), DAY, **changes), found.plan, found.proof, None)

    def state(self) -> dict[str, Any]:
        said = self.lab.exec(ROBOT, ["fleet-updater", "status", "--json"]).check()
        found: dict[str, Any] = json.loads(said)
        return found

    def until(self, what: str, done: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        ends = time.monotonic() + DEADLINE_S
        while not done(state := self.state()):
            assert time.monotonic() < ends, f"no {what} within {DEADLINE_S:g} s: {state}"
            time.sleep(0.5)
        return state


@pytest.fixture
def pulls(bay: WorkerBay) -> PullRobot:
    return PullRobot(bay.on_first(ROBOT).site)


def ended(order_id: str) -> Callable[[dict[str, Any]], bool]:
    return lambda state: state["state"] == "idle" and state["order_id"] == order_id and bool(state["outcome"])


def test_a_robot_comes_for_its_release_is_taken_back_and_leaves_a_bad_one_by_itself(pulls: PullRobot) -> None:
    assert pulls.state()["current"]["version"] == "1.0.0"
    pulls.begin("1.1.0", "r-1", stage=0)
    waits = pulls.until("statement", lambda state: state["pull"]["rollout_id"] == "r-1")
    assert waits["pull"]["held"] == "waits for its stage: it is in stage 1 of 1, the rollout has reached none"
    pulls.move(stage=1)
    came = pulls.until("end of r-1", ended("1.1.0-r-1"))
    assert (came["outcome"], came["current"]["version"]) == ("committed", "1.1.0"), came
    pulls.until("report that waits", lambda state: "the hub" in state["pull"]["unreported"])
    pulls.move(to=REVERTING, reason="the lift")
    back = pulls.until("way back", lambda state: state["state"] == "idle" and state["outcome"] == "reverted")
    assert back["current"]["version"] == "1.0.0"
    assert "the rollout is taken back: the lift" in back["reason"]
    pulls.begin("1.2.0", "r-2", stage=1)
    bad = pulls.until("end of r-2", ended("1.2.0-r-2"))
    assert (bad["outcome"], bad["current"]["version"]) == ("reverted", "1.0.0"), bad
    held = pulls.until("sentence", lambda state: "1.2.0-r-2 ended" in state["pull"]["held"])["pull"]["held"]
    assert held.startswith("its order 1.2.0-r-2 ended: reverted: ")
    pulls.lab.power_cycle(ROBOT)
    again = pulls.until("look after a power cut", lambda state: "1.2.0-r-2 ended" in state["pull"]["held"])
    assert again["current"]["version"] == "1.0.0"


def test_a_rollout_reaches_a_robot_that_pulls_by_the_hub_alone(pulls: PullRobot, tmp_path: Path) -> None:
    """The real controller, a real hub and a robot whose SSH is not asked: a good release, then a bad one."""
    with pulls.hub(tmp_path):
        pulls.site.fleet("bootstrap", "--robots", ROBOT)
        done = pulls.site.fleet_json("rollout", "1.1.0", "--robots", ROBOT, "--yes")
        assert pulls.state()["current"]["version"] == "1.1.0", done
        bad = pulls.site.fleet("rollout", "1.2.0", "--robots", ROBOT, "--yes", code=4)
        state = pulls.state()
        assert (state["outcome"], state["current"]["version"]) == ("reverted", "1.1.0"), bad.stdout
        (row,) = pulls.site.fleet_json("status", "--robots", ROBOT, code=(0, 4, 6))["robots"]
        assert (row["name"], row["release"]) == (ROBOT, "1.1.0")
