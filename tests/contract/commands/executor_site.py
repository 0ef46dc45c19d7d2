"""An executor without an agent, which would end it when it hangs, and whoever else is on its network. Not a
test module."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.contract.robot.robot_process import READY_S, ROOT, STOP_S, ros_environment

PEER_S = 150.0


class Site:
    """One executor process and its peers."""

    def __init__(self, tmp_path: Path, write: Callable[..., object], peers: str) -> None:
        """``write(folder, **options)`` makes the runtime folder; ``peers`` is the module that plays the others."""
        self.folder, self._write, self._peers = tmp_path / "rt", write, peers
        self.environment = {
            **ros_environment(tmp_path),
            "JETFLEET_CONFIG": str(self.folder / "runtime.json"),
            "JETFLEET_ENGINES_DIR": str(self.folder / "engines"),
        }
        self.log = tmp_path / "executor.log"
        self.processes: list[subprocess.Popen[str]] = []

    def executor(self, **options: Any) -> subprocess.Popen[str]:
        self._write(self.folder, **options)
        with self.log.open("wb") as stream:
            return self._start("runtime.executor", stdout=stream, stderr=stream)

    def peer(self, *arguments: str) -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return self._start(self._peers, *arguments, **pipes)

    def _start(self, module: str, *arguments: str, **streams: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", module, *arguments]
        self.processes.append(subprocess.Popen(command, env=self.environment, cwd=ROOT, text=True, **streams))
        return self.processes[-1]

    def until_logged(self, text: str) -> None:
        end = time.monotonic() + READY_S
        while text not in self.log.read_text():
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.05)

    def told(self, peer: subprocess.Popen[str]) -> dict[str, Any]:
        """Return the last thing that a peer says before it ends."""
        out, err = peer.communicate(timeout=PEER_S)
        assert peer.returncode == 0, err + self.log.read_text()
        facts: dict[str, Any] = json.loads(out.splitlines()[-1])
        return facts

    def end(self) -> None:
        """Leave nothing behind, however the test went."""
        for process in self.processes:
            process.kill()
            process.wait(STOP_S)
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
