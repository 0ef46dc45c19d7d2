"""The updater's own update with real processes: installed as on a robot, restarted as by its supervisor."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fleet.bootstrap import remote_install
from fleet.bootstrap.updater_package import launcher_text, updater_version, updater_zipapp
from runtime.contract.codec import canonical_json
from runtime.updater.selfupdate.launcher import Trial, read_trial, slot_in_use
from tests.contract.test_updater_process import _pythons
from tests.fakes.robot_world import order
from tests.fakes.updater_zipapps import EXITS, HANGS, another

OLD, OLD_VERSION = updater_zipapp(), updater_version()
NEW, NEW_VERSION = another("0123456789ab")
LONG_S, SHORT_S = 300.0, 3.0

pytestmark = pytest.mark.skipif(
    Path("/run/systemd/system").is_dir(), reason="the installer would speak to this machine's systemd"
)


class Machine:
    """A robot's folders, and a supervisor that starts `serve` again whenever it ends."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.python = _pythons()[-1]
        self.target = root / "updater/fleet-updater.pyz"
        self.environment = {"PATH": os.environ["PATH"], "DOCKER_HOST": f"unix://{root}/no-engine.sock"}
        self.process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, daemon=True)

    # ── installing ──

    def install(self, content: bytes, version: str, trial_s: float = LONG_S, before: str = "") -> int:
        """Run the installer as bootstrap does, ``before`` it; return its exit code."""
        upload = self.root / "upload"
        upload.write_bytes(content)
        parameters = {
            "source": str(upload),
            "sha256": hashlib.sha256(content).hexdigest(),
            "target": str(self.target),
            "command": str(self.root / "fleet-updater"),
            "identity": str(self.root / "state/robot.json"),
            "robot": "amr-001",
            "fleet": "warehouse",
            "socket": str(self.root / "updater.sock"),
            "unit": str(self.root / "unit.service"),
            "unit_text": "[Unit]\n",
            "wrapper_text": "#!/bin/sh\n",
            "launcher_text": launcher_text(),
            "version": version,
            "trial_s": str(trial_s),
        }
        program = before + Path(remote_install.__file__).read_text().replace("from __future__ import annotations", "")
        ran = subprocess.run(
            [sys.executable, "-I", "-", json.dumps(parameters)], input=program, text=True, timeout=60, check=False
        )
        return ran.returncode

    def older_layout(self) -> None:
        """Leave the robot as an older `fleet bootstrap` did."""
        self.target.parent.mkdir(parents=True)
        self.target.write_bytes(OLD)
        (self.root / "state").mkdir()
        (self.root / "state/robot.json").write_text('{"fleet": "warehouse", "robot": "amr-001"}\n')

    # ── running ──

    def command(self, *words: str) -> list[str]:
        place = ["--root", str(self.root), "--socket", str(self.root / "updater.sock")]
        return [self.python, "-I", str(self.target), *place, *words]

    def supervise(self) -> None:
        self._supervisor.start()

    def _supervise(self) -> None:
        with (self.root / "log").open("ab") as log:
            while not self._stopping.is_set():
                self.process = subprocess.Popen(self.command("serve"), env=self.environment, stdout=log, stderr=log)
                self.process.wait()
                self._stopping.wait(0.2)

    def stop(self) -> None:
        self._stopping.set()
        while self._supervisor.is_alive():
            if self.process is not None:
                self.process.kill()
            self._supervisor.join(0.2)

    def ask(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words),
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def answers(self) -> str:
        """Return the version of the daemon that answers; empty when none does."""
        ran = self.ask("status", "--json")
        return json.loads(ran.stdout)["updater_version"] if ran.returncode == 0 else ""

    def trial(self) -> Trial | None:
        return read_trial(self.target.parent)

    def wait(self, done: Callable[[], object], what: str, seconds: float = 90.0) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, f"no {what} within {seconds:g} s\n" + (self.root / "log").read_text()
            time.sleep(0.1)

    def wait_for(self, version: str) -> None:
        self.wait(lambda: self.answers() == version, f"answer of {version}")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    found = Machine(tmp_path)
    yield found
    if found._supervisor.is_alive():
        found.stop()


@pytest.fixture
def running(machine: Machine) -> Machine:
    assert machine.install(OLD, OLD_VERSION) == 0
    machine.supervise()
    machine.wait_for(OLD_VERSION)
    return machine


def test_a_good_one_stays_once_it_is_kept(running: Machine) -> None:
    assert running.install(NEW, NEW_VERSION) == 0
    running.wait_for(NEW_VERSION)
    assert slot_in_use(running.target.parent) == "a"
    # While it is on trial nothing begins, and what a person types comes from the proven one.
    told = running.ask("submit", stdin=canonical_json(order("1")).decode())
    assert (told.returncode, "is on trial" in told.stderr) == (5, True)
    assert running.ask("version").stdout.strip() == OLD_VERSION
    assert f"{NEW_VERSION} is on trial in slot b" in running.ask("doctor").stdout

    assert running.ask("keep", OLD_VERSION).returncode == 4
    assert running.ask("keep", NEW_VERSION).returncode == 0
    assert running.ask("keep", NEW_VERSION).returncode == 0
    assert (slot_in_use(running.target.parent), running.trial()) == ("b", None)
    assert running.ask("version").stdout.strip() == NEW_VERSION
    assert running.process is not None
    running.process.kill()
    running.wait_for(NEW_VERSION)
    assert "slot b, no trial" in running.ask("doctor").stdout


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (another("bad000000001", EXITS), "its daemon ended 3 times"),
        ((b"PK not a zipapp at all", "9.9.9+bad"), "its daemon ended 3 times"),
        (another("bad000000002", HANGS), "nobody proved it in time"),
        ((NEW, NEW_VERSION), "nobody proved it in time"),
    ],
    ids=["exits", "cannot-start", "hangs", "nobody-keeps-it"],
)
def test_one_that_is_not_proven_goes_by_itself(running: Machine, bad: tuple[bytes, str], why: str) -> None:
    limit_s = LONG_S if "ended" in why else SHORT_S
    assert running.install(*bad, trial_s=limit_s) == 0
    running.wait(lambda: (trial := running.trial()) is not None and trial.failed, "end of the trial")
    running.wait_for(OLD_VERSION)
    trial = running.trial()
    assert trial is not None
    assert (trial.version, trial.failed.startswith(why)) == (bad[1], True)
    assert slot_in_use(running.target.parent) == "a"
    # Too late, whoever asks for it now; and a mended one gets its chance.
    assert running.ask("keep", bad[1]).returncode == 4
    assert f"{bad[1]} failed its trial" in running.ask("doctor").stdout
    good, version = another("900d00000000")
    assert running.install(good, version) == 0
    running.wait_for(version)
    assert running.ask("keep", version).returncode == 0


@pytest.mark.parametrize("end", ["kept", "killed"])
def test_the_watch_ends_with_the_trial_and_leaves_no_zombie(running: Machine, end: str) -> None:
    assert running.install(NEW, NEW_VERSION) == 0
    running.wait_for(NEW_VERSION)
    assert running.process is not None
    (watch,) = _watches(running)
    assert _children(running.process.pid) == []
    if end == "kept":
        assert running.ask("keep", NEW_VERSION).returncode == 0
        running.wait(lambda: not _watches(running), "end of the watch")
    else:
        running.process.kill()
        running.wait(lambda: watch not in _watches(running), "end of the watch")
    running.wait_for(NEW_VERSION)


def test_a_robot_of_the_older_layout_is_taken_over_while_it_runs(machine: Machine) -> None:
    machine.older_layout()
    machine.supervise()
    machine.wait_for(OLD_VERSION)
    assert machine.install(NEW, NEW_VERSION) == 0
    machine.wait_for(NEW_VERSION)
    assert machine.ask("keep", NEW_VERSION).returncode == 0
    assert slot_in_use(machine.target.parent) == "b"


#: Ends the installer before its n-th change to the disk, as a power cut would.
DIES = """
import os, signal
from pathlib import Path
left = [{step}]
def dying(call):
    def dies(*arguments):
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments)
    return dies
for name in ("fsync",):
    setattr(os, name, dying(getattr(os, name)))
for name in ("replace", "symlink_to", "unlink"):
    setattr(Path, name, dying(getattr(Path, name)))
"""
MOST_STEPS = 60


@pytest.mark.parametrize("layout", ["slots", "older"])
def test_an_installer_killed_at_any_step_leaves_an_updater_that_answers(tmp_path: Path, layout: str) -> None:
    for step in range(MOST_STEPS):
        root = tmp_path / str(step)
        root.mkdir()
        machine = Machine(root)
        if layout == "older":
            machine.older_layout()
        else:
            assert machine.install(OLD, OLD_VERSION) == 0
        ended = machine.install(NEW, NEW_VERSION, before=DIES.format(step=step))
        _answers_and_can_be_installed_again(machine)
        if ended == 0:
            assert step > 5, "the installer was to be killed on its way"
            return
        assert ended == -9
    raise AssertionError(f"the installer takes more than {MOST_STEPS} steps")


def _answers_and_can_be_installed_again(machine: Machine) -> None:
    """After the cut: the proven one, or the new one on trial; and the next installation goes well."""
    machine.supervise()
    try:
        machine.wait(machine.answers, "answer after a cut installation")
        on_trial = machine.trial() is not None
        assert machine.answers() == (NEW_VERSION if on_trial else OLD_VERSION)
    finally:
        machine.stop()
    assert machine.install(NEW, NEW_VERSION) == 0
    folder, trial = machine.target.parent, machine.trial()
    assert trial is not None
    assert (trial.version, trial.tries, trial.failed) == (NEW_VERSION, 0, "")
    proven = folder / slot_in_use(folder) / machine.target.name
    assert (proven.read_bytes(), (folder / trial.slot / machine.target.name).read_bytes()) == (OLD, NEW)


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def _watches(machine: Machine) -> list[int]:
    """Return the processes that are still the launcher: the daemon has become an updater in a slot."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if str(machine.target).encode() in arguments and b"serve" in arguments:
            found.append(int(process.name))
    return found
