"""The updater's installer on a test's own machine without systemd, and its death at any step. Not a test module."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from fleet.bootstrap import remote_install
from fleet.bootstrap.updater_package import launcher_text, updater_version, updater_zipapp
from runtime.contract.codec import from_dict
from runtime.contract.robot.update import UpdateState
from runtime.updater.robot.json_socket import ask
from runtime.updater.selfupdate.launcher import Trial, read_trial, slot_in_use
from tests.contract.updater.test_updater_process import _pythons
from tests.fakes.robots.updater_zipapps import another

OLD, OLD_VERSION = updater_zipapp(), updater_version()
NEW, NEW_VERSION = another("0123456789ab")
LONG_S, SHORT_S = 300.0, 3.0


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
        text = Path(remote_install.__file__).read_text().replace("from __future__ import annotations", "")
        assert str(remote_install.SYSTEMD) in text
        program = before + text.replace(str(remote_install.SYSTEMD), str(self.root / "no-systemd"))
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
        try:
            state = from_dict(UpdateState, ask(self.root / "updater.sock", {"verb": "status"}))
        except ConnectionError:
            return ""
        return state.updater_version

    def trial(self) -> Trial | None:
        return read_trial(self.target.parent)

    def wait(self, done: Callable[[], object], what: str, seconds: float = 180.0) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, f"no {what} within {seconds:g} s\n" + (self.root / "log").read_text()
            time.sleep(0.03)

    def wait_for(self, version: str) -> None:
        self.wait(lambda: self.answers() == version, f"answer of {version}")


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


def die_at_steps(folder: Path, layout: str, first: int = 0, step: int = 1) -> None:
    """Kill the installer before each ``step``-th of its changes to the disk: an updater answers all the same."""
    for number in range(first, MOST_STEPS, step):
        root = folder / str(number)
        root.mkdir()
        machine = Machine(root)
        if layout == "older":
            machine.older_layout()
        else:
            assert machine.install(OLD, OLD_VERSION) == 0
        ended = machine.install(NEW, NEW_VERSION, before=DIES.format(step=number))
        _answers_and_can_be_installed_again(machine)
        if ended == 0:
            assert number > 5, "the installer was to be killed on its way"
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
