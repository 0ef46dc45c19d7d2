"""Starts the updater in use, or the one on trial; puts the proven one back when the new one does not prove itself.

`fleet bootstrap` copies this file to ``updater/fleet-updater.pyz``, the name that service and command know. It is no
part of what is on trial: it imports nothing of ours, so it works when a new updater cannot even start. Beside it:

    in-use -> a           the slot that is proven; changed only by `fleet-updater keep`
    a/  b/                one updater each, as fleet-updater.pyz
    trial.json            a new updater's trial while it lasts; afterwards why it failed, until the next installation

The daemon runs from the slot on trial, the other commands from the proven one. A trial ends well only by `keep`. It
fails by its deadline, by a third end of the daemon, by a restart of the robot; the next start is then the proven one.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any, List, NamedTuple, Optional, Tuple

NAME, IN_USE, TRIAL = "fleet-updater.pyz", "in-use", "trial.json"
SLOTS = ("a", "b")
#: So often the daemon on trial may be started.
MAX_TRIES = 3
POLL_S = 0.5


class Trial(NamedTuple):
    """What ``trial.json`` holds."""

    slot: str
    version: str
    boot_id: str
    until: float
    """CLOCK_BOOTTIME seconds at which it has failed."""
    tries: int = 0
    """Starts of its daemon so far."""
    failed: str = ""
    """Why; empty while the trial lasts."""


class Now(NamedTuple):
    """A moment of one boot."""

    boot_id: str
    boot: float
    """CLOCK_BOOTTIME, seconds."""


def decide(trial: Optional[Trial], in_use: str, now: Now) -> Tuple[str, Optional[Trial]]:
    """Return the slot whose daemon is started, and the trial as it must be on disk before that (None: as it is)."""
    if trial is None or trial.failed or trial.slot == in_use:
        return in_use, None
    why = failure(trial, now)
    if why:
        return in_use, trial._replace(failed=why)
    return trial.slot, trial._replace(tries=trial.tries + 1)


def failure(trial: Trial, now: Now) -> str:
    """Return why a trial that nobody ended has failed, or nothing while it lasts."""
    if trial.boot_id != now.boot_id:
        return "the robot was restarted before the trial ended"
    if now.boot >= trial.until:
        return "no confirmation came in time: it did not answer, or `fleet bootstrap` lost its connection"
    if trial.tries >= MAX_TRIES:
        return "its daemon ended {} times before the trial ended".format(trial.tries)
    return ""


def read_trial(folder: Path) -> Optional[Trial]:
    """Return the trial on disk; None when there is none, or none that can be read."""
    try:
        found = json.loads((folder / TRIAL).read_text(encoding="utf-8"))
        trial = Trial(**{name: found[name] for name in Trial._fields if name in found})
        return trial if _is_sound(trial) else None
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def _is_sound(trial: Trial) -> bool:
    texts = (trial.slot, trial.version, trial.boot_id, trial.failed)
    numbers = (trial.until, trial.tries)
    return (
        all(isinstance(text, str) for text in texts)
        and all(isinstance(number, (int, float)) for number in numbers)
        and trial.slot in SLOTS
    )


def write_trial(folder: Path, trial: Trial) -> None:
    """Put ``trial`` on disk, atomically. Raises OSError."""
    temporary = folder / "{}.{}".format(TRIAL, os.getpid())
    try:
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(trial._asdict(), file)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        temporary.replace(folder / TRIAL)
    except BaseException:
        if temporary.exists():
            temporary.unlink()
        raise
    _sync(folder)


def slot_in_use(folder: Path) -> str:
    """Return the proven slot; another one that holds an updater when the link is damaged; empty when none does."""
    link = folder / IN_USE
    named = Path(os.readlink(str(link))).name if link.is_symlink() else ""  # noqa: PTH115  (Path.readlink is 3.9)
    for slot in (named, *SLOTS):
        if slot in SLOTS and (folder / slot / NAME).is_file():
            return slot
    return ""


def keep(folder: Path) -> None:
    """End the trial well: its slot is the proven one from now on. Without a trial nothing happens. Raises OSError."""
    trial = read_trial(folder)
    if trial is None or trial.failed:
        return
    temporary = folder / (IN_USE + ".tmp")
    if temporary.is_symlink():
        temporary.unlink()
    temporary.symlink_to(trial.slot)
    temporary.replace(folder / IN_USE)
    _sync(folder)
    (folder / TRIAL).unlink()
    _sync(folder)


def this_moment() -> Now:
    """Return now."""
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return Now(boot_id, time.clock_gettime(time.CLOCK_BOOTTIME))


def verb_of(arguments: List[str]) -> str:
    """Return the command among the arguments: the first that is neither an option nor an option's value."""
    words = iter(arguments)
    for word in words:
        if not word.startswith("-"):
            return word
        if "=" not in word:
            next(words, "")
    return ""


def main(arguments: List[str]) -> int:
    """Become the updater that is meant; return only when there is none."""
    folder = Path(__file__).parent.absolute()
    in_use, trial = slot_in_use(folder), read_trial(folder)
    if not in_use:
        _say("no updater is installed in {} -> run `fleet bootstrap` for this robot".format(folder))
        return 3
    slot, verb = in_use, verb_of(arguments)
    if verb == "serve":
        slot = _slot_to_serve(folder, in_use, trial)
    elif verb == "keep" and trial is not None and not trial.failed:
        slot = trial.slot
    program = str(folder / slot / NAME)
    return os.execv(sys.executable, [sys.executable, "-I", program, *arguments])  # noqa: S606


def _slot_to_serve(folder: Path, in_use: str, trial: Optional[Trial]) -> str:
    """Decide, put the decision on disk, and leave a watch behind where the trial goes on."""
    try:
        slot, after = decide(trial, in_use, this_moment())
        if after is not None:
            write_trial(folder, after)
        if after is not None and not after.failed:
            _say("the updater {} is on trial, start {} of {}".format(after.version, after.tries, MAX_TRIES))
            _leave_watch(folder, after)
    except OSError as error:
        # A trial that cannot be counted or watched cannot be ended: the proven one it is.
        _say("a new updater cannot be tried: {}; slot {} is started".format(error, in_use))
        return in_use
    if after is not None and after.failed:
        _say("the updater {} failed its trial: {}; slot {} is started".format(after.version, after.failed, in_use))
    return slot


def _leave_watch(folder: Path, trial: Trial) -> None:
    """Start a process that outlives what this one becomes; it is nobody's child, so nobody has to reap it."""
    daemon = os.getpid()
    alive, held = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(held)
        if os.fork() == 0:
            _watch(folder, trial, daemon, alive)
        os._exit(0)
    os.close(alive)
    os.set_inheritable(held, True)  # the daemon's end, for as long as it lives
    os.waitpid(child, 0)


def _watch(folder: Path, trial: Trial, daemon: int, alive: int) -> Any:
    """End the daemon at the trial's deadline, so that its supervisor starts the proven one. Never returns."""
    try:
        while not select.select([alive], [], [], POLL_S)[0]:
            on_disk = read_trial(folder)
            kept = not (folder / TRIAL).exists() or slot_in_use(folder) == trial.slot
            if kept or (on_disk is not None and on_disk.failed):
                break
            if this_moment().boot >= trial.until:
                os.kill(daemon, signal.SIGKILL)
                break
    finally:
        os._exit(0)


def _sync(folder: Path) -> None:
    descriptor = os.open(str(folder), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _say(text: str) -> None:
    sys.stderr.write("fleet-updater: {}\n".format(text))
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
