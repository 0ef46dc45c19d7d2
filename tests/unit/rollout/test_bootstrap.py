"""Bootstrap: what it refuses, what it installs, and that it can be run again."""

from __future__ import annotations

import ast
import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fleet.errors import HostKeyError, RobotError, RobotOffline
from fleet.ports import CommandResult, RobotAddress
from fleet.rollout import remote_install
from fleet.rollout.bootstrap import START_DEADLINE_S, BootstrapReport, bootstrap
from fleet.rollout.host_facts import facts_from_probe, host_notes, host_problems
from runtime.contract.update import UPDATER_PATH
from tests.fakes.clock import FakeClock
from tests.fakes.robot_shell import FakeHost, FakeRobotShells, updater_program
from tests.fakes.updater import FakeUpdater

ZIPAPP = b"#!/usr/bin/env python3\nthe updater"
NOW = 1_800_000_000
GOOD = {
    "uid": "1000",
    "groups": "jetson docker",
    "root": "yes",
    "python": "3.8.10",
    "docker": "20.10.24",
    "compose": "2.40.3",
    "free_kib": "5000000",
    "time": str(NOW),
    "updater": "",
}


class Machine:
    """A host that answers the probe and 'runs' the installation."""

    def __init__(self, **probe: str) -> None:
        self.clock = FakeClock()
        self.host = FakeHost()
        self.shells = FakeRobotShells({"10.0.0.11": self.host})
        self.address = RobotAddress("amr-001", "10.0.0.11", 22, "jetson")
        self.probe = {**GOOD, **probe}
        self.updater = FakeUpdater("amr-001", self.clock, version="old")
        self.installed: list[dict[str, Any]] = []
        self.trusts: list[dict[str, Any]] = []
        self.install_result = CommandResult(0, '{"changed": true, "service": "supervised"}\n', "")
        self.starts = True
        self.host.programs["sh"] = self._probe
        self.host.programs["sudo"] = self._sudo
        self.host.programs["rm"] = self._remove

    def _remove(self, args: Sequence[str], stdin: str) -> CommandResult:
        del self.host.files[args[1]]
        return CommandResult(0, "", "")

    def _probe(self, args: Sequence[str], stdin: str) -> CommandResult:
        return CommandResult(0, "".join(f"{key}={value}\n" for key, value in self.probe.items()), "")

    def _sudo(self, args: Sequence[str], stdin: str) -> CommandResult:
        assert list(args[:5]) == ["-n", "python3", "-I", "-", args[4]]
        assert "def main" in stdin
        parameters = json.loads(args[4])
        if "files" in parameters:
            self.trusts.append(parameters)
            return CommandResult(0, '{"changed": true}\n', "")
        self.installed.append(parameters)
        if self.install_result.exit_code == 0:
            assert self.host.files.pop(parameters["source"])[0] == ZIPAPP
            self.probe["updater"] = parameters["sha256"]
            if self.starts:
                self.updater.state = self.updater.state.__class__("amr-001", self.updater.state.state, "1.0+new")
                updater_program(self.host, self.updater)
        return self.install_result

    def bootstrap(self, **options: Any) -> BootstrapReport:
        return bootstrap(
            self.address, "warehouse", self.shells, self.clock, zipapp=ZIPAPP, version="1.0+new", **options
        )


def test_a_fresh_machine_becomes_a_robot() -> None:
    machine = Machine()
    steps: list[str] = []
    report = machine.bootstrap(on_step=steps.append)
    assert (report.changed, report.updater_version, report.notes) == (True, "1.0+new", ())
    assert machine.shells.pins == {"amr-001": report.fingerprint}
    (parameters,) = machine.installed
    assert (parameters["robot"], parameters["fleet"], parameters["target"]) == ("amr-001", "warehouse", UPDATER_PATH)
    assert "serve" in parameters["unit_text"]
    assert len(steps) == 4
    assert machine.host.open_connections == 0
    assert machine.host.files == {}


def test_a_changed_host_key_is_refused_unless_accepted() -> None:
    machine = Machine()
    machine.bootstrap()
    machine.host.host_key = "ssh-ed25519 SHA256:second"
    with pytest.raises(HostKeyError):
        machine.bootstrap()
    assert machine.bootstrap(accept_new_host_key=True).fingerprint.endswith("second")


def test_an_updater_at_work_is_not_replaced() -> None:
    machine = Machine(updater="0" * 64)
    machine.updater.state = machine.updater.state.__class__("amr-001", "fetching", "old")
    updater_program(machine.host, machine.updater)
    with pytest.raises(RobotError, match=r"in the middle of an update \(fetching\)"):
        machine.bootstrap()
    assert machine.installed == []


def test_the_same_updater_at_work_is_left_alone() -> None:
    machine = Machine(updater=hashlib.sha256(ZIPAPP).hexdigest())
    machine.updater.state = machine.updater.state.__class__("amr-001", "fetching", "1.0+new")
    updater_program(machine.host, machine.updater)
    machine.install_result = CommandResult(0, '{"changed": false, "service": "systemd"}', "")
    assert machine.bootstrap().changed is False


@pytest.mark.parametrize(
    ("service", "hint"),
    [("supervised", "this host has no systemd; start it"), ("systemd", "journalctl -u fleet-updater")],
)
def test_an_updater_that_does_not_start_is_told_at_the_deadline(service: str, hint: str) -> None:
    machine = Machine()
    machine.starts = False
    machine.install_result = CommandResult(0, json.dumps({"changed": True, "service": service}), "")
    with pytest.raises(RobotError, match=r"the updater 1\.0\+new did not answer within 45 s \(has no updater\)") as e:
        machine.bootstrap()
    assert hint in e.value.hint
    assert START_DEADLINE_S <= machine.clock.monotonic() < START_DEADLINE_S + 2


@pytest.mark.parametrize(
    ("exit_code", "words", "hint"),
    [
        (3, "this machine is robot amr-009 of fleet x already", "remove /var/lib/jetfleet/state/robot.json"),
        (1, "Traceback\nOSError: No space left on device", "check the robot's disk"),
    ],
)
def test_an_installation_that_fails_says_why_and_leaves_nothing(exit_code: int, words: str, hint: str) -> None:
    machine = Machine()
    machine.install_result = CommandResult(exit_code, "", words + "\n")
    with pytest.raises(RobotError) as caught:
        machine.bootstrap()
    assert words.splitlines()[-1] in caught.value.message
    assert hint in caught.value.hint
    assert machine.host.files == {}


def test_an_offline_machine_is_offline() -> None:
    machine = Machine()
    machine.host.online = False
    with pytest.raises(RobotOffline):
        machine.bootstrap()


def test_everything_wrong_is_said_at_once() -> None:
    machine = Machine(root="", python="", groups="jetson", time=str(NOW - 365 * 86400), free_kib="1000")
    with pytest.raises(RobotError) as caught:
        machine.bootstrap()
    for words in ("as root without a password", "Python none", "group docker", "0 MiB free", "365 days behind ours"):
        assert words in caught.value.message
    assert "sudo timedatectl set-ntp true" in caught.value.hint
    assert machine.installed == []


# ── facts ────────────────────────────────────────────────────────────────────────────────────────────────────────


def problems(**probe: str) -> list[str]:
    text = "".join(f"{key}={value}\n" for key, value in {**GOOD, **probe}.items())
    return [problem.what for problem in host_problems(facts_from_probe(text, "jetson", NOW))]


@pytest.mark.parametrize(
    ("probe", "expected"),
    [
        ({}, []),
        ({"uid": "0", "groups": "root"}, []),
        ({"root": ""}, ["jetson cannot run commands as root without a password"]),
        ({"python": "3.7.3"}, ["it has Python 3.7.3, 3.8 is needed"]),
        ({"python": "Python?"}, ["it has Python none, 3.8 is needed"]),
        ({"docker": "", "compose": ""}, ["no Docker Engine answers"]),
        ({"compose": ""}, ["Docker has no Compose plugin"]),
        ({"groups": "jetson"}, ["jetson is not in the group docker"]),
        ({"free_kib": "1048575"}, ["/var/lib has 1023 MiB free, 1024 MiB are needed"]),
        ({"free_kib": ""}, []),
        ({"time": str(NOW + 2 * 86400)}, ["its clock is 2 days ahead of ours"]),
        ({"time": str(NOW + 3600)}, []),
    ],
)
def test_host_problems(probe: dict[str, str], expected: list[str]) -> None:
    assert problems(**probe) == expected


def test_a_small_skew_is_told() -> None:
    facts = facts_from_probe("time=1800000100\n", "jetson", NOW)
    assert host_notes(facts) == ["its clock is 100 s ahead of ours"]
    assert host_notes(facts_from_probe("time=1800000001\n", "jetson", NOW)) == []


# ── what runs at the robot ───────────────────────────────────────────────────────────────────────────────────────


PROGRAM = Path(remote_install.__file__)


def parameters(folder: Path, content: bytes = ZIPAPP, robot: str = "amr-001") -> dict[str, str]:
    (folder / "upload").write_bytes(content)
    return {
        "source": str(folder / "upload"),
        "sha256": hashlib.sha256(content).hexdigest(),
        "target": str(folder / "robot/updater/fleet-updater.pyz"),
        "command": str(folder / "bin/fleet-updater"),
        "identity": str(folder / "robot/state/robot.json"),
        "robot": robot,
        "fleet": "warehouse",
        "socket": str(folder / "none.sock"),
        "unit": str(folder / "unit.service"),
        "unit_text": "[Unit]\n",
        "wrapper_text": "#!/bin/sh\n",
    }


def install(values: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-", json.dumps(values)]
    return subprocess.run(command, input=PROGRAM.read_text(), capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.skipif(Path("/run/systemd/system").is_dir(), reason="would speak to this machine's systemd")
def test_installing_twice_changes_nothing_the_second_time(tmp_path: Path) -> None:
    first = install(parameters(tmp_path))
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout) == {"changed": True, "service": "supervised"}
    target = tmp_path / "robot/updater/fleet-updater.pyz"
    assert target.read_bytes() == ZIPAPP
    assert target.stat().st_mode & 0o777 == 0o755
    assert json.loads((tmp_path / "robot/state/robot.json").read_text()) == {"robot": "amr-001", "fleet": "warehouse"}
    inode = target.stat().st_ino
    assert json.loads(install(parameters(tmp_path)).stdout)["changed"] is False
    assert target.stat().st_ino == inode
    assert json.loads(install(parameters(tmp_path, b"newer")).stdout)["changed"] is True
    assert target.read_bytes() == b"newer"
    assert list(target.parent.iterdir()) == [target]


def test_a_machine_is_one_robot(tmp_path: Path) -> None:
    remote_install.write(tmp_path / "robot/state/robot.json", '{"robot": "amr-009", "fleet": "x"}', 0o644)
    done = install(parameters(tmp_path))
    assert done.returncode == 3
    assert done.stderr == "this machine is robot amr-009 of fleet x already\n"
    assert not (tmp_path / "robot/updater").exists()


def test_a_damaged_upload_is_refused(tmp_path: Path) -> None:
    values = parameters(tmp_path)
    (tmp_path / "upload").write_bytes(ZIPAPP[:-1])
    assert install(values).returncode == 3


def test_it_runs_on_the_robots_old_python() -> None:
    ast.parse(PROGRAM.read_text(), feature_version=(3, 8))
