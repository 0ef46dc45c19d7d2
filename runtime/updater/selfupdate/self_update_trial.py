"""The daemon's side of its own trial, of which `runtime/updater/selfupdate/launcher.py` is the judge."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from runtime.updater.selfupdate import launcher
from runtime.updater.transaction.update_state import Rejected

FOLDER = "updater"


def open_trial(root: Path) -> Optional[launcher.Trial]:
    """Return the trial that nobody has ended yet, or None. Its time may be over: the next start of a daemon ends it."""
    folder = root / FOLDER
    trial = launcher.read_trial(folder)
    if trial is None or trial.failed or trial.slot == launcher.slot_in_use(folder):
        return None
    return trial


def running_trial(root: Path) -> Optional[launcher.Trial]:
    """Return the trial that goes on, or None."""
    trial, now = open_trial(root), launcher.this_moment()
    if trial is None or trial.boot_id != now.boot_id or now.boot >= trial.until:
        return None
    return trial


def keep_updater(root: Path, version: str, own: str) -> None:
    """End the trial well, of this very updater; again is fine. Raises Rejected, OSError."""
    if version != own:
        raise Rejected("refused", "this updater is {}, not {}".format(own, version), "run `fleet bootstrap` again")
    trial = open_trial(root)
    if trial is not None and trial.version != own:
        text = "the updater on trial is {}, this one is {}".format(trial.version, own)
        raise Rejected("refused", text, "run `fleet bootstrap` again")
    launcher.keep(root / FOLDER)


def refuse_on_trial(root: Path) -> None:
    """Raises Rejected while this updater is on trial: nothing begins that it may not be there to end."""
    trial = running_trial(root)
    if trial is not None:
        text = "the updater {} is on trial".format(trial.version)
        raise Rejected("busy", text, "wait for the end of `fleet bootstrap`: it takes a minute or two")
