"""The updater's own update with real processes: installed as on a robot, restarted as by its supervisor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.contract.codec import canonical_json
from runtime.updater.selfupdate.launcher import slot_in_use
from tests.contract.updater.installer import LONG_S, NEW, NEW_VERSION, OLD, OLD_VERSION, SHORT_S, Machine, die_at_steps
from tests.fakes.robots.robot_world import order
from tests.fakes.robots.updater_zipapps import EXITS, HANGS, another


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
        (another("bad000000002", HANGS), "no confirmation came in time"),
        ((NEW, NEW_VERSION), "no confirmation came in time"),
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


@pytest.mark.parametrize("layout", ["slots", "older"])
def test_an_installer_killed_on_its_way_leaves_an_updater_that_answers(tmp_path: Path, layout: str) -> None:
    # At some of its steps; long_installer.py kills it at each.
    die_at_steps(tmp_path, layout, first=1, step=5)


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
