"""A rollout that waits before a wave, on real robots: gone on with from one checkout, given up from another.

The robots come from a program in the first checkout and from a CSV file in the second; a real HTTP server is told.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.contract.operator.test_hooks import SECRET, Server
from tests.contract.operator.test_hooks import server as server  # noqa: PLC0414  (its fixture)
from tests.lab.bays import WorkerBay
from tests.lab.site import Site

pytestmark = pytest.mark.xdist_group("lab-fleet")

VERSION = "1.4.0"
WAVES = [1, {"to": 2, "approve": True}, {"to": "100%", "approve": True}]


@pytest.fixture
def site(bay: WorkerBay, server: Server) -> Site:
    """All robots on 1.0.0, and 1.4.0 published, which changes each; the robots are named by a program."""
    site = bay.on_first(version="1.0.0").site
    site.environment["HOOK_SECRET"] = SECRET
    manifest = site.manifest()
    (site.folder / "robots.json").write_text(json.dumps({"robots": manifest.pop("robots")}, indent=1))
    manifest["inventory"] = {"command": f"{sys.executable} -c \"print(open('robots.json').read())\""}
    manifest["version"] = VERSION
    manifest["defaults"]["environment"] = {"DOCK": "{{ robot.group }}/{{ robot.name }}"}
    manifest["rollout"] |= {"waves": WAVES}
    events = ["before-rollout", "before-wave", "after-wave", "on-pause", "on-failure", "after-rollout"]
    manifest["hooks"] = [{"events": events, "url": server.url(), "secret": {"env": "HOOK_SECRET"}}]
    site.save(manifest)
    site.fleet("publish")
    return site


def checkout(site: Site, folder: Path) -> Site:
    """Return the checkout of another operator, who keeps the same robots in a CSV file."""
    shutil.copytree(site.folder, folder)
    other = Site(site.lab, folder, site.environment)
    robots = json.loads((folder / "robots.json").read_text())["robots"]
    (folder / "robots.json").unlink()
    with (folder / "robots.csv").open("w", newline="") as file:
        rows = csv.DictWriter(file, ["name", "host", "group"])
        rows.writeheader()
        rows.writerows(robots)
    other.save(other.manifest() | {"inventory": {"csv": "robots.csv"}})
    return other


def events(server: Server) -> list[tuple[str, int | None, str | None]]:
    """Return what was posted since the last look, its signatures checked."""
    for got in server.got:
        at, _, mac = got.headers["X-Jetfleet-Signature"].removeprefix("t=").partition(",v1=")
        made = hmac.new(SECRET.encode(), at.encode() + b"." + got.body, hashlib.sha256)
        assert hmac.compare_digest(mac, made.hexdigest())
    told = [(got.json["event"], got.json["wave"], got.json["outcome"]) for got in server.got]
    server.got.clear()
    return told


def outcomes(document: dict[str, Any]) -> dict[str, str]:
    return {robot["name"]: robot["outcome"] for robot in document["robots"]}


def test_it_is_resumed_in_one_checkout_and_aborted_in_another(site: Site, server: Server, tmp_path: Path) -> None:
    first = site.fleet_json("rollout", "--yes", code=7)
    assert outcomes(first) == {"amr-001": "committed", "amr-002": "skipped", "scout-001": "skipped"}
    assert events(server) == [
        ("before-rollout", None, None),
        ("before-wave", 1, None),
        ("after-wave", 1, None),
        ("on-pause", 2, "paused"),
    ]
    assert site.releases() == {"amr-001": VERSION, "amr-002": "1.0.0", "scout-001": "1.0.0"}
    shown = site.fleet("status").stdout
    assert f"the rollout of {VERSION} is paused for" in shown
    assert "wave 2 of 3 waits for an approval; 1 committed, 2 untouched" in shown
    assert "is paused" in site.fleet("rollout", "--yes", code=7).stderr

    second = checkout(site, tmp_path / "second")
    went_on = second.fleet_json("rollout", "--resume", "--yes", "--reason", "it drove for a day", code=7)
    assert outcomes(went_on) == {"amr-001": "committed", "amr-002": "committed", "scout-001": "skipped"}
    assert [event for event, _, _ in events(server)] == ["before-rollout", "before-wave", "after-wave", "on-pause"]

    # Somebody at the robot takes the release back: it is not what the pause left.
    site.lab.exec("amr-001", ["fleet-updater", "revert", "--wait"], deadline_s=240).check()
    refused = second.fleet_json("rollout", "--resume", "--yes", "--reason", "go", code=4)
    assert f"amr-001 had committed {VERSION} and runs 1.0.0 now" in refused["error"]["message"]
    assert site.fleet_json("status")["paused"]["wave"] == 3
    assert events(server) == []

    third = checkout(site, tmp_path / "third")
    given_up = third.fleet_json("rollout", "--abort", "--yes", "--reason", "it hums", code=(0, 4))
    assert outcomes(given_up)["amr-002"] == "rolled back"
    assert events(server)[-1] == ("after-rollout", None, "aborted")
    assert set(site.releases().values()) == {"1.0.0"}
    assert site.fleet_json("status")["paused"] is None
    history = [each for each in site.fleet_json("history")["history"] if each["version"] == VERSION]
    assert sorted((each["kind"], each["outcome"]) for each in history) == [
        ("approval", ""),
        ("rollout", "aborted"),
        ("rollout", "paused"),
        ("rollout", "paused"),
    ]
