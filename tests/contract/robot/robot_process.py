"""The runtime container's content as processes: agent, executor, and whoever else is on their ROS network. Not a test
module; the fixture ``robot`` (conftest.py) starts them and ends them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from runtime.contract.codec import from_json
from runtime.contract.node.health import HealthReport
from runtime.contract.robot.verification import Verification
from tests.harness import share

ROOT = Path(__file__).parents[3]
READY_S = 120.0
STOP_S = 60.0


def ros_environment(tmp_path: Path) -> dict[str, str]:
    """The image's own defaults, a ROS domain that no other test process on this machine has, and a folder for locks:
    one executor serves where they share one."""
    node = tmp_path / "node"
    node.mkdir(exist_ok=True)
    lines = (ROOT / "images/runtime/runtime.env").read_text().splitlines()
    image = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return {
        **os.environ,
        **image,
        "FASTDDS_DEFAULT_PROFILES_FILE": str(ROOT / "images/runtime/fastdds.xml"),
        "FASTRTPS_DEFAULT_PROFILES_FILE": str(ROOT / "images/runtime/fastdds.xml"),
        "ROS_DOMAIN_ID": str(share.ros_domain()),
        "ROS_LOG_DIR": str(tmp_path / "log"),
        "JETFLEET_NODE_DIR": str(node),
        "PYTHONPATH": str(ROOT),
    }


class Robot:
    """One agent with its executor, and whoever else is on its ROS network."""

    def __init__(self, folder: Path, tmp_path: Path, prefix: Sequence[str] = ()) -> None:
        """``prefix`` is a command that runs the agent and the others, such as one that enters a namespace."""
        self.prefix = tuple(prefix)
        self.environment = {
            **ros_environment(tmp_path),
            "JETFLEET_CONFIG": str(folder / "runtime.json"),
            "JETFLEET_ENGINES_DIR": str(folder / "engines"),
            "JETFLEET_HEALTH_PORT": "0",
        }
        self.log = tmp_path / "agent.log"
        with self.log.open("wb") as stream:
            command = [*self.prefix, sys.executable, "-m", "runtime.health"]
            self.process = subprocess.Popen(command, env=self.environment, stderr=stream, stdout=stream, cwd=ROOT)
        self.port = self._port()

    def _port(self) -> int:
        marker = "health on http://127.0.0.1:"
        end = time.monotonic() + READY_S
        while time.monotonic() < end:
            for line in self.log.read_text().splitlines():
                if marker in line:
                    return int(line.rpartition(":")[2])
            time.sleep(0.05)
        pytest.fail(f"the agent did not say its port within {READY_S:g} s:\n{self.log.read_text()}")

    def status(self, path: str) -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def report(self) -> HealthReport:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/report", timeout=30) as answer:
            return from_json(HealthReport, answer.read())

    def verify(self, seconds: float) -> Verification:
        url = f"http://127.0.0.1:{self.port}/verify?seconds={seconds:g}"
        with urllib.request.urlopen(url, timeout=READY_S) as answer:
            return from_json(Verification, answer.read())

    def until(self, what: str, done: Callable[[HealthReport], object], deadline_s: float = READY_S) -> HealthReport:
        end = time.monotonic() + deadline_s
        while not done(report := self.report()):
            if time.monotonic() > end:
                pytest.fail(f"waited {deadline_s:g} s for {what}; now {report}\n{self.log.read_text()}")
            time.sleep(0.05)
        return report

    def peer(self, *arguments: str) -> dict[str, Any]:
        command = [*self.prefix, sys.executable, "-m", "tests.contract.robot.ros_peer", *arguments]
        done = subprocess.run(
            command, env=self.environment, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False
        )
        assert done.returncode == 0, done.stderr + self.log.read_text()
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S)

    def end(self) -> None:
        """Leave nothing behind, however the test went."""
        if self.process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(STOP_S)


StartRobot = Callable[..., Robot]
"""Runtime folder, and words of a command that runs it all (``Room.enter``) → a robot."""
