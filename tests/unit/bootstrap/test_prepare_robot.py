"""Bootstrap: what it refuses, what it installs, and that it can be run again."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fleet.bootstrap import remote_install
from fleet.bootstrap.host_facts import facts_from_probe, host_notes, host_problems
from fleet.bootstrap.prepare_robot import START_DEADLINE_S, TRIAL_S, BootstrapReport, bootstrap
from fleet.errors import HostKeyError, RobotError, RobotOffline
from fleet.link.remote_python import EXIT_DAMAGED, LOADER, run_program
from fleet.ports import CommandResult, RobotAddress
from runtime.contract.robot.update import UPDATER_PATH, UPDATER_TRIAL
from tests.fakes.clock import FakeClock
from tests.fakes.robots.robot_shell import FakeHost, FakeRobotShells, updater_program
from tests.fakes.robots.updater import FakeUpdater

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


def installed(changed: bool = True, service: str = "supervised", trial: bool = False) -> CommandResult:
    return CommandResult(0, json.dumps({"changed": changed, "service": service, "trial": trial}) + "\n", "")


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
        self.accesses: list[dict[str, Any]] = []
        self.kept: list[tuple[str, int]] = []
        """Version, and how many connections were opened until then."""
        self.install_result = installed()
        self.starts = True
        self.refuses: str = ""
        """Why the new updater does not stay."""
        self.host.programs["sh"] = self._probe
        self.host.programs["sudo"] = self._sudo
        self.host.programs["rm"] = self._remove

    def _remove(self, args: Sequence[str], stdin: str) -> CommandResult:
        del self.host.files[args[1]]
        return CommandResult(0, "", "")

    def _probe(self, args: Sequence[str], stdin: str) -> CommandResult:
        return CommandResult(0, "".join(f"{key}={value}\n" for key, value in self.probe.items()), "")

    def _sudo(self, args: Sequence[str], stdin: str) -> CommandResult:
        assert list(args) == ["-n", "python3", "-I", "-c", LOADER, hashlib.sha256(stdin.encode()).hexdigest()]
        sent = json.loads(stdin)
        assert "def main" in sent["program"]
        parameters = sent["parameters"]
        if "login" in parameters:
            self.accesses.append(parameters)
            return CommandResult(0, '{"changed": true}\n', "")
        if "files" in parameters:
            self.trusts.append(parameters)
            return CommandResult(0, '{"changed": true}\n', "")
        self.installed.append(parameters)
        if self.install_result.exit_code == 0:
            assert self.host.files.pop(parameters["source"])[0] == ZIPAPP
            self.probe["updater"] = parameters["version"]
            if self.starts:
                self.updater.state = self.updater.state.__class__("amr-001", self.updater.state.state, "1.0+new")
                updater_program(self.host, self._updater)
        return self.install_result

    def _updater(self, args: Sequence[str], stdin: str) -> CommandResult:
        if args[0] != "keep":
            return self.updater(args, stdin)
        self.kept.append((args[1], self.host.connections))
        if self.refuses:
            return CommandResult(4, "", f"fleet-updater: {self.refuses}\n")
        return self.updater(["status", "--json"], "")

    def returns_after(self, seconds: float, why: str) -> None:
        """The robot goes back to the updater before at that time."""
        began = self.clock.monotonic()
        self.updater.version = "0.9+old"

        def answers(args: Sequence[str], stdin: str) -> CommandResult:
            if self.clock.monotonic() - began < seconds:
                return CommandResult(3, "", "fleet-updater: the updater does not answer -> start it\n")
            self.host.files[UPDATER_TRIAL] = (json.dumps({"slot": "b", "failed": why}).encode(), 0o644)
            self.updater.state = self.updater.state.__class__("amr-001", "idle", "0.9+old")
            return self.updater(args, stdin)

        updater_program(self.host, answers)

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
    assert "StartLimitIntervalSec=0" in parameters["unit_text"], "systemd must not give up on a robot's updater"
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
    machine = Machine(updater="0.9+old")
    machine.updater.state = machine.updater.state.__class__("amr-001", "fetching", "old")
    updater_program(machine.host, machine.updater)
    with pytest.raises(RobotError, match=r"an update is in progress \(fetching\)"):
        machine.bootstrap()
    assert machine.installed == []


def test_the_same_updater_at_work_is_left_alone() -> None:
    machine = Machine(updater="1.0+new")
    machine.updater.state = machine.updater.state.__class__("amr-001", "fetching", "1.0+new")
    updater_program(machine.host, machine.updater)
    machine.install_result = installed(changed=False, service="systemd")
    assert machine.bootstrap().changed is False


@pytest.mark.parametrize(
    ("service", "hint"),
    [("supervised", "this host has no systemd; start it"), ("systemd", "journalctl -u fleet-updater")],
)
def test_an_updater_that_does_not_start_is_told_at_the_deadline(service: str, hint: str) -> None:
    machine = Machine()
    machine.starts = False
    machine.install_result = installed(service=service)
    with pytest.raises(RobotError, match=r"the updater 1\.0\+new did not answer within 45 s \(has no updater\)") as e:
        machine.bootstrap()
    assert hint in e.value.hint
    assert START_DEADLINE_S <= machine.clock.monotonic() < START_DEADLINE_S + 2


def test_a_new_updater_that_answers_is_told_to_stay_over_a_new_connection() -> None:
    machine = Machine(updater="0.9+old")
    updater_program(machine.host, machine.updater)
    machine.install_result = installed(trial=True)
    report = machine.bootstrap()
    assert (report.changed, report.updater_version) == (True, "1.0+new")
    ((version, connections),) = machine.kept
    assert version == "1.0+new"
    # One to look whether it is busy, one to install, one that hears the new one answer, one to keep it.
    assert connections == machine.host.connections == 4
    assert machine.host.open_connections == 0
    assert float(machine.installed[0]["trial_s"]) == TRIAL_S


def test_the_first_updater_of_a_machine_is_not_on_trial() -> None:
    machine = Machine()
    machine.bootstrap()
    assert machine.kept == []


@pytest.mark.parametrize("after_s", [3.0, TRIAL_S])
def test_a_new_updater_that_never_answers_is_told_with_the_one_that_runs_again(after_s: float) -> None:
    machine = Machine(updater="0.9+old")
    updater_program(machine.host, machine.updater)
    machine.install_result = installed(trial=True)
    machine.starts = False
    machine.returns_after(after_s, "its daemon ended 3 times before the trial ended")
    # What answers before the installation is the old one too: the trial has not begun.
    with pytest.raises(RobotError) as caught:
        machine.bootstrap()
    said = caught.value.message
    assert "the updater 1.0+new did not prove itself: its daemon ended 3 times" in said
    assert "the one before (0.9+old) runs again" in said
    assert "was not touched" in caught.value.hint
    assert after_s <= machine.clock.monotonic() < after_s + 2
    assert machine.kept == []


def test_a_new_updater_that_answers_and_does_not_stay_is_told_with_its_reason() -> None:
    machine = Machine(updater="0.9+old")
    updater_program(machine.host, machine.updater)
    machine.install_result = installed(trial=True)
    machine.refuses = "this updater is 1.0+new, not yours"
    with pytest.raises(RobotError, match=r"this updater is 1\.0\+new, not yours.*did not return") as caught:
        machine.bootstrap()
    assert len(machine.kept) == 1
    assert "docs/robot-recovery.md" in caught.value.hint


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
        (
            {"root": "", "root_words": "sudo: a password is required"},
            ["jetson cannot run commands as root without a password (sudo: a password is required)"],
        ),
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


LAUNCHER = "print('the launcher')\n"


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
        "launcher_text": LAUNCHER,
        "version": f"1.0+{hashlib.sha256(content).hexdigest()[:4]}",
        "trial_s": "90",
    }


def install(values: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-", json.dumps(values)]
    return subprocess.run(command, input=PROGRAM.read_text(), capture_output=True, text=True, timeout=60, check=False)


def done(values: dict[str, str]) -> tuple[bool, bool]:
    """Install; return whether anything changed, and whether the updater is on trial."""
    result = install(values)
    assert result.returncode == 0, result.stderr
    said = json.loads(result.stdout)
    assert said["service"] == "supervised"
    return said["changed"], said["trial"]


def tree(folder: Path) -> dict[str, str]:
    """Return what lies beside the updater: name → content, or where a link points."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file() and name != "trial.json":
            found[name] = path.read_text()
    return found


def zipped(files: dict[str, str], level: int = 9) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED, level)
    return b"#!/usr/bin/env python3\n" + packed.getvalue()


@pytest.fixture
def no_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A robot without systemd, whatever this machine has."""
    monkeypatch.setattr(remote_install, "SYSTEMD", tmp_path / "no-systemd")


@pytest.mark.usefixtures("no_systemd")
def test_installing_twice_changes_nothing_the_second_time(tmp_path: Path) -> None:
    assert done(parameters(tmp_path)) == (True, False)
    updater = tmp_path / "robot/updater"
    first = {"a/fleet-updater.pyz": ZIPAPP.decode(), "fleet-updater.pyz": LAUNCHER, "in-use": "-> a"}
    assert tree(updater) == first
    assert (updater / "a/fleet-updater.pyz").stat().st_mode & 0o777 == 0o755
    assert json.loads((tmp_path / "robot/state/robot.json").read_text()) == {"robot": "amr-001", "fleet": "warehouse"}
    inode = (updater / "fleet-updater.pyz").stat().st_ino
    assert done(parameters(tmp_path)) == (False, False)
    assert tree(updater) == first
    assert (updater / "fleet-updater.pyz").stat().st_ino == inode


@pytest.mark.usefixtures("no_systemd")
def test_another_updater_goes_into_the_free_slot_and_on_trial(tmp_path: Path) -> None:
    done(parameters(tmp_path))
    updater = tmp_path / "robot/updater"
    assert done(parameters(tmp_path, b"newer")) == (True, True)
    assert tree(updater) == {
        "a/fleet-updater.pyz": ZIPAPP.decode(),
        "b/fleet-updater.pyz": "newer",
        "fleet-updater.pyz": LAUNCHER,
        "in-use": "-> a",
    }
    trial = json.loads((updater / "trial.json").read_text())
    assert (trial["slot"], trial["tries"], trial["failed"]) == ("b", 0, "")
    assert trial["version"] == parameters(tmp_path, b"newer")["version"]
    assert done(parameters(tmp_path, b"newer")) == (True, True)  # its trial begins anew
    assert done(parameters(tmp_path)) == (True, False)  # the proven one again: the trial is over
    assert not (updater / "trial.json").exists()


@pytest.mark.usefixtures("no_systemd")
def test_a_failed_trial_is_forgotten_with_the_next_installation(tmp_path: Path) -> None:
    done(parameters(tmp_path))
    trial = tmp_path / "robot/updater/trial.json"
    done(parameters(tmp_path, b"bad"))
    trial.write_text(json.dumps({**json.loads(trial.read_text()), "failed": "because"}))
    assert done(parameters(tmp_path)) == (False, False)
    assert not trial.exists()


@pytest.mark.usefixtures("no_systemd")
def test_a_robot_of_the_older_layout_is_taken_over(tmp_path: Path) -> None:
    old, new = zipped({"__main__.py": "print('old')"}), zipped({"__main__.py": "print('new')"})
    target = tmp_path / "robot/updater/fleet-updater.pyz"
    target.parent.mkdir(parents=True)
    target.write_bytes(old)
    assert done(parameters(tmp_path, new)) == (True, True)
    assert target.read_text() == LAUNCHER
    assert (target.parent / "in-use" / target.name).read_bytes() == old
    assert (target.parent / "b" / target.name).read_bytes() == new


@pytest.mark.usefixtures("no_systemd")
def test_the_same_updater_in_the_older_layout_is_taken_over_without_a_trial(tmp_path: Path) -> None:
    same = zipped({"__main__.py": "print('same')"})
    target = tmp_path / "robot/updater/fleet-updater.pyz"
    target.parent.mkdir(parents=True)
    target.write_bytes(same)
    assert done(parameters(tmp_path, same)) == (True, False)
    assert target.read_text() == LAUNCHER


@pytest.mark.usefixtures("no_systemd")
def test_an_older_fleet_in_between_is_taken_over_again(tmp_path: Path) -> None:
    """It knows nothing of slots and puts its zipapp over the launcher."""
    done(parameters(tmp_path, zipped({"__main__.py": "1"})))
    old = zipped({"__main__.py": "0"})
    target = tmp_path / "robot/updater/fleet-updater.pyz"
    target.write_bytes(old)
    assert done(parameters(tmp_path, zipped({"__main__.py": "2"}))) == (True, True)
    assert (target.parent / "in-use" / target.name).read_bytes() == old


@pytest.mark.usefixtures("no_systemd")
def test_what_another_machine_packed_otherwise_is_the_same_updater(tmp_path: Path) -> None:
    text = "print('the same')\n" * 200
    ours, theirs = zipped({"__main__.py": text}, 9), zipped({"__main__.py": text}, 1)
    assert ours != theirs
    done(parameters(tmp_path, ours))
    assert done(parameters(tmp_path, theirs)) == (False, False)
    assert done(parameters(tmp_path, zipped({"__main__.py": text + "\n"}))) == (True, True)


@pytest.mark.usefixtures("no_systemd")
def test_a_damaged_updater_is_replaced_even_by_the_same_one(tmp_path: Path) -> None:
    good = zipped({"__main__.py": "print('the same')\n" * 200})
    done(parameters(tmp_path, good))
    slot = tmp_path / "robot/updater/a/fleet-updater.pyz"
    slot.write_bytes(good[:60] + bytes([good[60] ^ 255]) + good[61:])
    assert done(parameters(tmp_path, good)) == (True, True)


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


# ── what comes back ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("answer", ["", "Welcome!\n", '["a list"]', '{"changed": tr'])
def test_an_answer_that_is_none_is_this_robots_error(answer: str) -> None:
    machine = Machine()
    machine.install_result = CommandResult(0, answer, "")
    with pytest.raises(RobotError, match="its answer cannot be read") as caught:
        machine.bootstrap()
    assert caught.value.robot == "amr-001"


def test_a_host_that_cannot_be_checked_is_said_with_its_words() -> None:
    machine = Machine()
    machine.host.programs["sh"] = lambda _args, _stdin: CommandResult(1, "", "sh: /: Input/output error\n")
    with pytest.raises(RobotError, match="its host cannot be checked: sh: /: Input/output error"):
        machine.bootstrap()
    assert machine.installed == []


def test_what_was_changed_on_the_way_is_not_run(tmp_path: Path) -> None:
    """The loader, by a real Python: whole it runs, with one byte less nothing does."""
    program = tmp_path / "program.py"
    program.write_text("import json, sys\nprint(json.dumps(json.loads(sys.argv[1])))\n")
    sent: list[tuple[list[str], str]] = []

    class Shell:
        def run(self, command: Sequence[str], *, stdin: str | None = None, timeout_s: float = 30.0) -> CommandResult:
            sent.append((list(command), stdin or ""))
            return CommandResult(0, "", "")

    parameters = {"text": "back\\slash 'quotes' \"more\" $HOME ü\n"}
    run_program(Shell(), program, parameters, as_root=True, timeout_s=1.0)  # type: ignore[arg-type]
    ((command, stdin),) = sent
    whole = subprocess.run([sys.executable, *command[1:]], input=stdin, capture_output=True, text=True, check=False)
    assert json.loads(whole.stdout) == parameters
    for damaged in (stdin[:-1], stdin.replace("\\\\", "\\"), ""):
        done = subprocess.run(
            [sys.executable, *command[1:]], input=damaged, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (EXIT_DAMAGED, "")
