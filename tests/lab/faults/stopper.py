"""The robot's updater, stopped at one transition of its journal: runs on a lab robot, instead of the service.

``python3 stopper.py MOMENT before|after FOLDER``: the first time that the journal enters MOMENT, the updater stands
still before that is on disk, or when it is. FOLDER then holds ``stopped``; the updater goes on once it holds ``go``.
Production code has no hook for this: the installed zipapp is imported, and one of its functions wrapped. Its wall clock
is the machine's and so many seconds as FOLDER/clock says.
"""

from __future__ import annotations

import runpy
import sys
import time
from pathlib import Path
from typing import Any

INSTALLED = ("/var/lib/jetfleet/updater/in-use/fleet-updater.pyz", "/var/lib/jetfleet/updater/fleet-updater.pyz")
POLL_S = 0.02


def moment_of(journal: Any) -> str:
    """Name where a transaction stands; every change of this name is a transition."""
    watch = journal.watch
    if journal.state == "idle":
        return "ended" if journal.tidy_due else "idle"
    if journal.state == "probation":
        return "awaiting" if watch is not None and watch.confirm_since is not None else "probation"
    if journal.state == "reverting":
        return "returning" if watch is not None and watch.acted else "reverting"
    if journal.state == "switching" and journal.takeover:
        return str(journal.takeover)
    return str(journal.state)


def stand_still(folder: Path) -> None:
    """Say so, and wait for what comes: a signal, or ``go``."""
    (folder / "stopped").touch()
    while not (folder / "go").exists():
        time.sleep(POLL_S)


def shift_clock(folder: Path) -> None:
    """Let `time.time` of this process be that of a robot whose clock was set."""
    true = time.time
    time.time = lambda: true() + float((folder / "clock").read_text())


def main(moment: str, when: str, folder: Path) -> None:
    """Run the installed updater's daemon."""
    updater = next(path for path in map(Path, INSTALLED) if path.exists()).resolve()
    shift_clock(folder)
    sys.path.insert(0, str(updater))
    from runtime.updater.storage.journal import JournalStore

    save = JournalStore.save
    seen: list[str] = []

    def watched(store: Any, journal: Any) -> None:
        now = moment_of(journal)
        due = bool(seen) and seen[-1] != now and now == moment and not (folder / "stopped").exists()
        if due and when == "before":
            stand_still(folder)
        save(store, journal)
        seen.append(now)
        if due and when == "after":
            stand_still(folder)

    setattr(JournalStore, "save", watched)  # noqa: B010  (mypy: a method is put in place of another)
    sys.argv = [str(updater), "serve"]
    runpy.run_path(str(updater), run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
