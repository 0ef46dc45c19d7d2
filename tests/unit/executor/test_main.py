"""What the executor process says when it cannot even start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.health.process.status import ENV_STATUS_FD, status_pair

ROOT = Path(__file__).parents[3]


def run(config: bytes | None, tmp_path: Path) -> tuple[subprocess.CompletedProcess[str], str]:
    """Run it without site-packages, so that there is no rclpy; return what it printed and its last fatal status."""
    path = tmp_path / "runtime.json"
    if config is not None:
        path.write_bytes(config)
    receiver, theirs = status_pair()
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "JETFLEET_CONFIG": str(path), ENV_STATUS_FD: str(theirs.fileno()),
    }  # fmt: skip
    try:
        done = subprocess.run(
            [sys.executable, "-S", "-m", "runtime.executor"],
            env=environment, pass_fds=[theirs.fileno()], capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        status = receiver.newest()
    finally:
        theirs.close()
        receiver.close()
    return done, "" if status is None else status.fatal


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (b'{"models": []}', "cannot import rclpy: "),
        (b"{}", "RuntimeConfig.models: missing"),
        (None, "cannot read the runtime configuration"),
    ],
)
def test_it_says_why_and_exits_with_2(config: bytes | None, reason: str, tmp_path: Path) -> None:
    done, fatal = run(config, tmp_path)
    assert done.returncode == 2
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    assert reason in fatal
