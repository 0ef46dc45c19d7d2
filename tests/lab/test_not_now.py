"""A robot that says "not now": by its update lock, and by its windows. Real node, real lock, real updater."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from tests.lab.bays import WorkerBay
from tests.lab.site import Site

pytestmark = pytest.mark.xdist_group("lab-not-now")

ROBOT = "amr-001"
TOPIC = "/mission/active"
MISSION = f"""
import rclpy
from std_msgs.msg import Bool

rclpy.init()
node = rclpy.create_node("mission")
sender = node.create_publisher(Bool, "{TOPIC}", 1)
timer = node.create_timer(0.2, lambda: sender.publish(Bool(data=True)))
rclpy.spin(node)
"""
START = """
export FASTDDS_DEFAULT_PROFILES_FILE=/opt/camera/fastdds.xml ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST HOME=/tmp
setsid /opt/camera/bin/python -c "$1" >/tmp/mission.log 2>&1 </dev/null &
echo $! >/tmp/mission.pid
"""
LOCK = "cat /run/jetfleet/slots/*/update.lock"


def publish(site: Site, version: str, update: dict[str, Any], shift: str) -> None:
    """Publish the fleet with rules for one robot; no engine and no image is new."""
    manifest = site.manifest()
    manifest["version"] = version
    for robot in manifest["robots"]:
        if robot["name"] == ROBOT:
            robot.update(update_inhibit=[{"flag": TOPIC}], update=update, environment={"SHIFT": shift})
    site.save(manifest)
    site.fleet("publish")


@pytest.fixture
def guarded(bay: WorkerBay) -> Site:
    """One robot on a release whose node holds the update lock while a mission is on."""
    site = bay.on_first(ROBOT, version="1.0.0").site
    publish(site, f"2.{int(time.time())}.0", {"wait": "3s"}, "day")
    site.fleet("rollout", "--yes", "--robots", ROBOT)
    return site


def next_version(site: Site, update: dict[str, Any]) -> str:
    """Publish another release of other content for the robot; return its version."""
    version = f"2.{int(time.time())}.{time.monotonic_ns() % 100000}"
    publish(site, version, update, version)
    return version


def begin_mission(site: Site) -> None:
    site.lab.exec(ROBOT, ["sh", "-c", START, "sh", MISSION], user="jetson").check()
    until(site, TOPIC)


def until(site: Site, word: str, deadline_s: float = 180.0) -> None:
    """Wait until the node's lock file has ``word``."""
    ends = time.monotonic() + deadline_s
    while word not in (found := site.lab.exec(ROBOT, ["sh", "-c", LOCK]).stdout):
        log = site.lab.exec(ROBOT, ["cat", "/tmp/mission.log"]).stdout
        assert time.monotonic() < ends, f"the lock file never said {word}: {found!r}; the mission: {log!r}"
        time.sleep(0.05)


def rollout(site: Site, *options: str, code: int = 0) -> dict[str, Any]:
    document = site.fleet_json("rollout", "--yes", "--robots", ROBOT, *options, code=code)
    robot: dict[str, Any] = document["robots"][0]
    return robot


def container(site: Site) -> str:
    return site.containers()[ROBOT]


def test_a_robot_on_a_mission_is_deferred_until_it_ends_or_somebody_overrides(guarded: Site) -> None:
    begin_mission(guarded)
    before, running = container(guarded), guarded.releases()[ROBOT]
    next_version(guarded, {"wait": "3s"})
    deferred = rollout(guarded, code=6)
    assert deferred["outcome"] == "deferred"
    assert TOPIC in deferred["reason"]
    assert container(guarded) == before
    assert guarded.releases()[ROBOT] == running
    said = guarded.lab.exec(ROBOT, ["fleet-updater", "status"]).check()
    assert "deferred" in said
    assert TOPIC in said

    overridden = rollout(guarded, "--override", "fire drill")
    assert overridden["outcome"] == "committed"
    assert overridden["fetched_bytes"] == 0
    assert container(guarded) != before
    assert "overridden: fire drill" in guarded.lab.exec(ROBOT, ["fleet-updater", "history"]).check()
    assert guarded.fleet_json("history")["history"][0]["override"] == "fire drill"

    until(guarded, TOPIC)  # the new node holds the lock as well


def test_a_window_that_opens_later_defers_and_says_when(guarded: Site) -> None:
    now = datetime.now(timezone.utc)  # the lab's robots live in UTC
    opens = (now + timedelta(hours=2)).replace(minute=0)
    next_version(guarded, {"wait": "3s", "switch": [f"{opens:%H:%M}-{opens + timedelta(hours=1):%H:%M}"]})
    before = container(guarded)
    deferred = rollout(guarded, code=6)
    assert deferred["outcome"] == "deferred"
    assert f"outside of the switch window, which opens {opens:%Y-%m-%d %H:00}" in deferred["reason"]
    assert container(guarded) == before

    next_version(guarded, {"wait": "3s", "switch": [f"{now - timedelta(hours=1):%H:00}-{opens:%H:00}"]})
    assert rollout(guarded)["outcome"] == "committed"
