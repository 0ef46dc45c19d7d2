"""Two executors, a base that records their commands, and a foreign commander: real processes on one ROS domain. Not a
test module."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from runtime.contract.node.serving import SERVING_LOCK, TOKEN, slot_word
from runtime.updater.storage.durable import replace_durable
from tests.contract.robot.robot_process import READY_S, ROOT, STOP_S, ros_environment
from tests.fakes.nodes.velocity_engine import write_driver

Runs = list[dict[str, Any]]


class Duo:
    """Executors of slots a and b, whose commands carry their slot as frame, and a base that records them.

    ``prefix`` is a command that runs the base, and by default the executors (``NetworkSite.inside``).
    """

    def __init__(self, tmp_path: Path, prefix: Sequence[str] = (), **environment: str) -> None:
        self.folder, self.prefix = tmp_path, tuple(prefix)
        self.serve = tmp_path / "serve"
        self.serve.mkdir()
        self.environment = {
            **ros_environment(tmp_path),
            "JETFLEET_SERVE_DIR": str(self.serve),
            **environment,
        }
        self.processes: list[subprocess.Popen[str]] = []
        self.base = self._start(
            ["-m", "tests.contract.commands.handover_peer"], {}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def token(self, slot: str) -> None:
        (self.serve / SERVING_LOCK).touch()
        replace_durable(self.serve / TOKEN, f"{slot_word(slot)}\n".encode())

    def executor(self, slot: str, prefix: Sequence[str] | None = None, **environment: str) -> subprocess.Popen[str]:
        """Start an executor of ``slot``; its log begins anew."""
        name = slot_word(slot)
        folder = self.folder / name
        write_driver(folder, frame_id=name)
        own = {
            "JETFLEET_CONFIG": str(folder / "runtime.json"),
            "JETFLEET_ENGINES_DIR": str(folder / "engines"),
            "JETFLEET_SLOT": slot,
            "JETFLEET_NODE_DIR": str(self._node(name)),
            **environment,
        }
        with self.log(slot).open("wb") as stream:
            return self._start(["-m", "runtime.executor"], own, prefix, stdout=stream, stderr=stream)

    def _node(self, name: str) -> Path:
        """A container's own folder; by hand, without a token, both have one."""
        node = self.folder / "node" / (name if (self.serve / TOKEN).exists() else "by-hand")
        node.mkdir(parents=True, exist_ok=True)
        return node

    def commander(self, prefix: Sequence[str] | None = None) -> subprocess.Popen[str]:
        """Start a foreign commander that says nothing (an idle teleoperation), with Fast DDS's own settings; return
        when it has a publisher. It ends with its standard input."""
        stock = {"FASTDDS_DEFAULT_PROFILES_FILE": "", "FASTRTPS_DEFAULT_PROFILES_FILE": ""}
        arguments = ["-m", "tests.contract.commands.velocity_peer", "rival"]
        process = self._start(arguments, stock, prefix, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert json.loads(process.stdout.readline() or "{}") == {"there": True}
        return process

    def log(self, slot: str) -> Path:
        return self.folder / f"{slot_word(slot)}.log"

    def _start(
        self, arguments: list[str], own: dict[str, str], prefix: Sequence[str] | None = None, **streams: Any
    ) -> subprocess.Popen[str]:
        command = [*(self.prefix if prefix is None else prefix), sys.executable, *arguments]
        environment = {key: value for key, value in {**self.environment, **own}.items() if value}
        self.processes.append(subprocess.Popen(command, env=environment, cwd=ROOT, text=True, **streams))
        return self.processes[-1]

    def until_logged(self, slot: str, text: str, times: int = 1) -> None:
        """Wait until the executor's log has ``text``, so many times."""
        end = time.monotonic() + READY_S
        while self.log(slot).read_text(errors="replace").count(text) < times:
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
                    runs[-1] = {**run, "first_at": runs[-1]["first_at"], "count": runs[-1]["count"] + run["count"]}
                else:
                    runs.append(run)
            if done(runs):
                return runs, most
            assert time.monotonic() < end, f"waited {deadline_s:g} s for {what}: {runs[-5:]}\n" + "\n".join(
                path.read_text() for path in sorted(self.folder.glob("*.log"))
            )
            time.sleep(0.02)

    def none_from(self, slot: str, for_s: float, under_way: int = 0) -> None:
        """Look on for ``for_s``; ``slot`` must not command anything meanwhile, zero included.

        ``under_way``: so many commands may have been decided before, and come to their end now.
        """
        end = time.monotonic() + for_s
        runs, _ = self.until("the time to pass", lambda _: time.monotonic() > end, for_s + READY_S)
        assert sum(run["count"] for run in runs if run["source"] == slot_word(slot)) <= under_way, runs

    def end(self) -> None:
        """End every process that was started."""
        for process in self.processes:
            process.kill()
            process.wait(STOP_S)
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()


def drives(source: str) -> Callable[[Runs], bool]:
    return lambda runs: bool(runs) and runs[-1]["source"] == source and runs[-1]["last"][0] > 0.0


def sources(runs: Runs) -> list[str]:
    return [run["source"] for run in runs]


def took(ended: float, runs: Runs, source: str) -> float:
    """Return the seconds from ``ended`` (monotonic) to the first command of ``source``, after which nobody else
    commands."""
    names = sources(runs)
    assert names[-1] == source, runs
    assert names.count(source) == 1, f"two commanders: {runs}"
    return float(runs[-1]["first_at"]) - ended
