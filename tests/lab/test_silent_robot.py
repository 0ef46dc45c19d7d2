"""A robot whose updater is stopped in mid-update: the others keep what they committed, and it is told as what it is."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from fleet.cli import main
from fleet.rollout.limits import Limits
from tests.lab.bays import WorkerBay
from tests.lab.site import Site

pytestmark = pytest.mark.xdist_group("lab-fleet")

VERSION = "1.4.0"
SILENT = "scout-001"
OWN_DEADLINE_S = 20.0
"""In the place of the minutes that a robot in probation may take: what is waited for is the same."""


@pytest.fixture
def site(bay: WorkerBay) -> Iterator[Site]:
    """All robots on 1.0.0, and a release that changes each of them. The updater runs again afterwards."""
    site = bay.on_first(version="1.0.0").site
    manifest = site.manifest()
    manifest["version"] = VERSION
    manifest["defaults"]["environment"] = {"CHANGED": "1"}
    manifest["rollout"] |= {"lost": {"after": "1s"}, "ready_timeout": "5m", "confirm_timeout": "1m"}
    site.save(manifest)
    site.fleet("publish")
    yield site
    site.lab.kill_service(SILENT, "updater", "CONT")


def state(site: Site) -> dict[str, Any]:
    """Ask the silent robot's updater, past SSH."""
    return site.lab.ask_updater(SILENT, "status") or {}


def test_a_stopped_updater_is_lost_and_takes_nothing_from_the_others(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Limits, "left_s", lambda _limits, _order, _seen: OWN_DEADLINE_S)
    stopped = threading.Event()

    def stop() -> None:
        ends = time.monotonic() + 240
        while time.monotonic() < ends and state(site).get("state") not in ("switching", "probation"):
            time.sleep(0.2)
        site.lab.kill_service(SILENT, "updater", "STOP")
        stopped.set()

    stopper = threading.Thread(target=stop, daemon=True)
    stopper.start()
    code = main.run(["rollout", "-m", str(site.folder), "--yes", "--json"], as_json=True)
    stopper.join()
    assert stopped.is_set()
    document = json.loads(capsys.readouterr().out)
    outcomes = {robot["name"]: robot["outcome"] for robot in document["robots"]}
    reasons = {robot["name"]: robot["reason"] for robot in document["robots"]}
    assert outcomes == {"amr-001": "committed", "amr-002": "committed", SILENT: "lost"}, reasons
    assert (code, document["succeeded"], document["tags"]) == (4, False, [])
    assert "1 of 3 robots are lost, at most 0 may be" in document["error"]["message"]

    rows = {robot["name"]: robot for robot in site.fleet_json("status", code=3)["robots"]}
    assert [rows[name]["release"] for name in ("amr-001", "amr-002")] == [VERSION, VERSION]
    assert (rows[SILENT]["state"], rows[SILENT]["release"]) == ("unknown", None)
    assert rows[SILENT]["error"]

    site.lab.kill_service(SILENT, "updater", "CONT")
    ends = time.monotonic() + 180
    while state(site).get("state") != "idle":
        assert time.monotonic() < ends, "the robot did not go back by itself"
        time.sleep(0.5)
    row = site.status()[SILENT]
    assert (row["release"], row["outcome"]) == ("1.0.0", "reverted")
    assert "no confirmation" in row["reason"]

    again = site.fleet_json("rollout", "--yes", "--force")
    assert again["succeeded"]
    assert set(site.releases().values()) == {VERSION}
