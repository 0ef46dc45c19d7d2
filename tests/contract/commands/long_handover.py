"""Fifty ends of the executor that serves, each also beside a foreign commander that lives, under load.

A run: slot a drives and comes to its end in one of five ways; b drives within three seconds, and nobody else after it.
Then a new a stands by, an idle commander of somebody else's appears, and b comes to its end in the same way: a
commands nothing. One line a run, with the seconds and the counts. Two busy loops keep a small machine at work.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.contract.node.serving import slot_word
from tests.contract.commands.endings import CONTAINED, ENDINGS, Docker, Old
from tests.contract.commands.handover_duo import Duo, drives, sources, took
from tests.contract.commands.network_site import NetworkSite
from tests.contract.robot.robot_process import STOP_S
from tests.harness.long import ENV_PART

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install jetfleet[ros], or a ROS installation)")
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make namespaces")

LONG_PARTS = 2
RUNS = 50
BUSY = 2
TAKEN_OVER_S = 3.0
DRIVES_S = 30.0
"""How long a run waits for a command, so that one that comes too late is told from one that never comes."""
PART, OF = (int(word) for word in os.environ.get(ENV_PART, "1/1").split("/"))
KINDS = list(ENDINGS)


@pytest.fixture(scope="module", autouse=True)
def busy() -> Iterator[None]:
    """As many loops that compute nothing."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(BUSY)]
    yield
    for loop in loops:
        loop.kill()
        loop.wait(STOP_S)


class Stage:
    """Where executors of one run live: processes, containers, or hosts of their own."""

    def __init__(self, folder: Path, kind: str, run: int) -> None:
        self.kind, self.run = kind, run
        self.site = NetworkSite(["base", "one", "two", "three", "foreign"]) if kind == "network gone" else None
        self._hosts = iter(["one", "two", "three"])
        self._started: list[tuple[subprocess.Popen[str], str]] = []
        folder.mkdir()
        inside = () if self.site is None else self.site.inside("base")
        reach = {} if self.site is None else {"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"}
        self.duo = Duo(folder, inside, ROS_DOMAIN_ID=str(1 + run % 90), **reach)
        self.docker = Docker.found() if kind == "container removed" else None

    def executor(self, slot: str) -> Old:
        """Start one; in the container's kind, in a container of the Engine where there is one."""
        name = next(self._hosts)
        if self.site is not None:
            return Old(self.duo.executor(slot, self.site.inside(name)), self.site, name)
        if self.docker is not None:
            container = f"jetfleet-handover-{os.getpid()}-{self.run}-{name}"
            return Old(self.duo.executor(slot, self.docker.words(container)), name=container, docker=self.docker)
        return Old(self.duo.executor(slot, CONTAINED if self.kind == "container removed" else ()))

    def foreign(self) -> subprocess.Popen[str]:
        return self.duo.commander(self.site.inside("foreign") if self.site is not None else ())

    def leave(self) -> None:
        if self.docker is not None:
            self.docker.remove_all(f"jetfleet-handover-{os.getpid()}-{self.run}-")
        self.duo.end()
        if self.site is not None:
            self.site.remove()


@pytest.fixture
def stage(tmp_path: Path, run: int) -> Iterator[Stage]:
    one = Stage(tmp_path / "run", KINDS[run % len(KINDS)], run)
    yield one
    one.leave()
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.mark.parametrize("run", [run for run in range(RUNS) if run % OF == PART - 1])
def test_a_run(stage: Stage, run: int) -> None:
    duo, end = stage.duo, ENDINGS[stage.kind]
    duo.token("")
    first = stage.executor("")
    duo.until("a to drive", drives("a"))
    second = stage.executor("b")
    duo.until_logged("b", "is inactive: the token names another container than b")
    duo.look()
    ended = end(first, lambda: duo.token("b"))
    runs, _ = duo.until("b to drive", drives("b"), DRIVES_S)
    seconds = took(ended, runs, "b")
    told = duo.log("b").read_text()
    print(f"\nrun {run:>2} {stage.kind}: first command after {seconds:.3f} s", end="", flush=True)

    stage.executor("")
    duo.until_logged("", "is inactive: the token names another container than a")
    foreign = stage.foreign()
    duo.until_logged("b", "is also commanded by /peer")
    duo.look()
    ended = end(second, lambda: duo.token(""))
    duo.none_from("", max(0.0, ended + TAKEN_OVER_S + 0.5 - time.monotonic()))
    print("; beside a foreign commander 0 commands", end="", flush=True)
    assert foreign.stdin is not None
    foreign.stdin.close()
    assert foreign.wait(STOP_S) == 0
    runs, _ = duo.until("a to drive once he is gone", drives("a"), DRIVES_S)
    assert set(sources(runs)) == {slot_word("")}
    assert 0.0 < seconds < TAKEN_OVER_S, f"ended at {ended + time.time() - time.monotonic():.3f}\n{told}"
