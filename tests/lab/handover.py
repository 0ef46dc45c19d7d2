"""One lab robot whose fleet wants handovers: releases that differ in a variable, and a listener on its answers."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from fleetbox.running import RunningLab

from tests.lab.site import Site, finish

ROBOT = "amr-001"
TOPIC = "/jetfleet/sign_text/text"
STATE = "/var/lib/jetfleet/state/journal.json"
HEARD = "/tmp/heard.jsonl"
LISTENER = f"""
import json, time
import rclpy
from std_msgs.msg import String

rclpy.init()
node = rclpy.create_node("listener")
out = open({HEARD!r}, "w", buffering=1)
seen = -1

def count():
    global seen
    now = len(node.get_publishers_info_by_topic({TOPIC!r}))
    if now != seen:
        seen = now
        out.write(json.dumps({{"at": time.monotonic(), "publishers": now}}) + "\\n")

def take(message, info):
    sent, publisher = info["source_timestamp"], info["publisher_gid"]["data"].hex()
    out.write(json.dumps({{"at": time.monotonic(), "sent": sent, "publisher": publisher}}) + "\\n")

subscription = node.create_subscription(String, {TOPIC!r}, take, 50)
timer = node.create_timer(0.005, count)
rclpy.spin(node)
"""
START = """
export FASTDDS_DEFAULT_PROFILES_FILE=/opt/camera/fastdds.xml ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST HOME=/tmp
rm -f /tmp/heard.jsonl
setsid /opt/camera/bin/python -c "$1" >/tmp/listener.log 2>&1 </dev/null &
echo $! >/tmp/listener.pid
"""
RUNTIMES = (
    "docker ps --all --no-trunc --filter label=com.docker.compose.service=runtime "
    "--format '{{.ID}} {{.Label \"com.docker.compose.project\"}} {{.State}}'"
)


@dataclass(frozen=True)
class Runtime:
    """One runtime container on the robot."""

    id: str
    project: str
    state: str


@dataclass(frozen=True)
class Heard:
    """What the listener heard."""

    answers: int
    gap_s: float
    """Longest time between two answers."""
    publishers: int
    """Most publishers at one time, as the graph shows; on a busy machine it shows a publisher that has gone."""
    turns: int
    """How often an answer came from another publisher than the one before, in the order in which they were sent."""


def _turns(answers: list[dict[str, Any]]) -> int:
    sent = sorted(answers, key=lambda line: float(line["sent"]))
    return sum(before["publisher"] != after["publisher"] for before, after in pairwise(sent))


class Pair:
    """See the module."""

    def __init__(self, site: Site, robot: str = ROBOT) -> None:
        self.site, self.robot = site, robot
        self.count = 0
        manifest = site.manifest()
        # Deadlines are for a busy machine; the soak is what the tests do something in.
        manifest["rollout"].update(soak="3s", ready_timeout="180s", confirm_timeout="180s")
        manifest["robots"] = [each for each in manifest["robots"] if each["name"] == robot]
        manifest["groups"] = {name: group for name, group in manifest["groups"].items() if name == "amr"}
        site.save(manifest)

    @classmethod
    def create(cls, lab: RunningLab, folder: Path, robot: str = ROBOT) -> Pair:
        """Make a checkout of an own prefix, build its engines, and bring the robot to its first release."""
        pair = cls(Site.create(lab, folder, f"handover-{int(time.time())}"), robot)
        site = pair.site
        pair.publish()
        site.fleet("build")
        site.fleet("publish")
        site.fleet("bootstrap")
        site.fleet("rollout", "--yes", "--force")
        return pair

    def publish(self, handover: str = "auto", **robot: Any) -> str:
        """Write another version of other content; return it. The caller builds and publishes."""
        self.count += 1
        version = f"1.{int(time.time())}.{self.count}"
        manifest = self.site.manifest()
        manifest["version"] = version
        manifest["robots"][0].update(
            {"update": {"handover": handover}, "environment": {"SHIFT": version}, "resources": {}, **robot}
        )
        self.site.save(manifest)
        return version

    def sh(self, command: str, deadline_s: float = 60.0) -> str:
        """Run a shell line on the robot as root; it must succeed."""
        return self.site.lab.exec(self.robot, ["sh", "-c", command], deadline_s=deadline_s).check()

    def runtimes(self) -> list[Runtime]:
        """Return the runtime containers of both projects."""
        return [Runtime(*line.split()) for line in self.sh(RUNTIMES).splitlines()]

    def only(self) -> Runtime:
        """Return the one that there is."""
        (found,) = self.runtimes()
        assert found.state == "running"
        return found

    def started(self, container: str) -> str:
        """Return since when a container runs."""
        return self.sh(f"docker inspect --format '{{{{.State.StartedAt}}}}' {container}").strip()

    def journal(self) -> dict[str, Any]:
        """Return the updater's journal as it is on the disk."""
        text = ""
        while not text:  # a busy Engine may end a command before all that it said has come
            text = self.sh(f"cat {STATE}")
        found: dict[str, Any] = json.loads(text)["journal"]
        return found

    def until(self, what: str, done: Callable[[], object], deadline_s: float = 240.0) -> None:
        """Poll to a deadline."""
        ends = time.monotonic() + deadline_s
        while not done():
            if time.monotonic() > ends:
                said = self.sh("tail -n 30 /var/log/jetfleet-lab/updater.log; fleet-updater status || true")
                raise AssertionError(f"waited {deadline_s:g} s for {what}:\n{said}")
            time.sleep(0.05)

    def in_probation(self) -> bool:
        """Whether the new release serves on trial."""
        return bool(self.journal()["state"] == "probation")

    def begin(self) -> subprocess.Popen[str]:
        """Start a rollout of the manifest's version."""
        return self.site.start("rollout", "--yes", "--force", "--json")

    def end(self, rollout: subprocess.Popen[str], code: int = 0) -> dict[str, Any]:
        """Wait for it; return the robot's result."""
        robot: dict[str, Any] = finish(rollout, code).json["robots"][0]
        return robot

    def said(self, text: str) -> bool:
        """Whether the updater said so since it was started."""
        return text in self.sh("cat /var/log/jetfleet-lab/updater.log")

    # ── what is published ──

    def listen(self) -> None:
        """Begin to record answers."""
        self.site.lab.exec(self.robot, ["sh", "-c", START, "sh", LISTENER], user="jetson").check()
        self.until("answers", lambda: sum("publishers" not in line for line in self._lines()) > 4)

    def heard(self) -> Heard:
        """End the recording; return what there was."""
        lines = self._lines()
        self.sh("kill $(cat /tmp/listener.pid)")
        answers = [line for line in lines if "publishers" not in line]
        gaps = [after["at"] - before["at"] for before, after in pairwise(answers)]
        return Heard(len(answers), max(gaps), max(line.get("publishers", 0) for line in lines), _turns(answers))

    def until_turned(self, times: int) -> None:
        """Wait until answers have come from another publisher than before, so often."""
        what = f"turn {times} of the publishers"
        self.until(what, lambda: _turns([line for line in self._lines() if "publishers" not in line]) >= times)

    def _lines(self) -> list[dict[str, Any]]:
        text = self.sh(f"cat {HEARD} 2>/dev/null || true")
        return [json.loads(line) for line in text.splitlines() if line.endswith("}")]
