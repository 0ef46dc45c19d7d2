"""A real `fleet` process that waits for a robot which never answers: signals end it, at once and with a sentence."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.fleet_folder import write_fleet

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ"


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A machine that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30.0)
        yield server


@pytest.fixture
def folder(tmp_path: Path, silent: socket.socket) -> Path:
    port = silent.getsockname()[1]
    robots = [{"name": "amr-001", "host": "127.0.0.1", "port": port, "group": "amr"}]
    path = write_fleet(tmp_path / "manifests", fleet={"robots": robots, "groups": {"scout": None}})
    (path / "known_hosts").write_text(f"amr-001,127.0.0.1 {KEY}\n")
    return path


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    ("verb", "hint"),
    [
        (["status"], "nothing was changed"),
        (["exec", "--", "sleep", "60"], "commands on robots were stopped"),
        (["bootstrap"], "run the same command again"),
    ],
)
def test_a_signal_ends_a_command_that_waits_for_a_silent_robot(
    folder: Path, silent: socket.socket, number: signal.Signals, verb: list[str], hint: str
) -> None:
    command = [sys.executable, "-m", "fleet.cli.main", *verb]
    environment = {**os.environ, "FLEET_MANIFEST": str(folder)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            connection, _ = silent.accept()
            os.killpg(process.pid, number)
            stdout, stderr = process.communicate(timeout=60.0)
            connection.close()
        finally:
            process.kill()
    assert process.returncode == 3
    assert stderr.splitlines() == ["error interrupted", f"  → {stderr.rpartition('→ ')[2].strip()}"]
    assert hint in stderr
    assert stdout == ""
