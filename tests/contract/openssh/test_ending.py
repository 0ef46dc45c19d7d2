"""A real `fleet exec` that is ended by a signal: what it runs at the robot is ended too, also for root."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from tests.contract.hosts.test_robot_shell import arguments, gone, running
from tests.contract.openssh.site import Operator
from tests.fakes.fleet_folder import write_fleet


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_what_runs_at_the_robot_ends_with_fleet(operator: Operator, number: signal.Signals) -> None:
    operator.writes(operator.keys)
    address = operator.site.address("127.0.0.3")
    robot = {
        "name": "amr-001",
        "host": address.host,
        "port": address.port,
        "user": address.user,
        "group": "amr",
        "identity_file": str(operator.site.identity),
    }
    folder = write_fleet(operator.home / "manifests", fleet={"robots": [robot], "groups": {"scout": None}})
    (folder / "known_hosts").write_text(f"amr-001 {operator.site.host_key}\n")
    marker = uuid.uuid4().hex
    command = [sys.executable, "-m", "fleet.cli.main", "exec", "--timeout", "600", "--", "sh", "-c", "sleep 600; :"]
    environment = {**os.environ, "FLEET_MANIFEST": str(folder), "HOME": str(_home(operator))}
    process = subprocess.Popen(
        [*command, marker], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        deadline = time.monotonic() + 60
        while not _at_the_robot(marker, process.pid):
            assert time.monotonic() < deadline, "the command did not begin"
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait(timeout=20)
    assert gone(marker, within_s=30.0)
    if number != signal.SIGKILL:
        assert process.returncode == 3
        assert b"commands on robots were stopped" in said


def _home(operator: Operator) -> Path:
    (operator.home / ".ssh").mkdir(exist_ok=True)
    return operator.home


def _at_the_robot(marker: str, ours: int) -> bool:
    """Whether somebody else than our own process has the marker among its arguments."""
    entries = (entry for entry in Path("/proc").glob("[0-9]*/cmdline") if int(entry.parent.name) != ours)
    return any(marker.encode() in arguments(entry) for entry in entries)


def test_the_marker_of_this_test_is_found_where_it_runs() -> None:
    """Otherwise `gone` could not fail."""
    marker = uuid.uuid4().hex
    with subprocess.Popen(["sh", "-c", "read x; :", marker], stdin=subprocess.PIPE) as process:
        # The kernel closes Popen's pipe a moment before it sets the new process's arguments.
        deadline = time.monotonic() + 30
        while not running(marker):
            assert time.monotonic() < deadline, "it is not found"
            time.sleep(0.02)
        process.kill()
