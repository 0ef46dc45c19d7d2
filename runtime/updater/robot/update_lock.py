"""Asks the node whether the robot may be updated now, and keeps it from saying otherwise meanwhile.

Stdlib and the contract only. Silence means no: where rules are declared, a lock file that nobody writes any more counts
as locked, whoever died.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from pathlib import Path
from typing import Optional, Tuple

from runtime.contract.codec import ContractError, from_json
from runtime.contract.json_decoder import WORDS
from runtime.contract.node.resources import LOCK_FILE, LOCK_STALE_S, LockState
from runtime.contract.printable import printable
from runtime.updater.state.lock_answer import FREE, HELD, SILENT, LockAnswer

_MAX_BYTES = 64 * 1024
_MAX_REASONS, _MAX_REASON = 8, 1000


class HeldLock:
    """The lock in our hands: until ``release`` (or our death) no rule of the node can hold it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: Optional[int] = descriptor

    def release(self) -> None:
        """Give it back. Releasing twice is fine."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def take(
    declared: bool, path: Path = Path(LOCK_FILE), now: Optional[float] = None
) -> Tuple[LockAnswer, Optional[HeldLock]]:
    """Take the lock if the node lets us; return what it says, and the lock where that is ``free``.

    ``declared``: the running release has rules (``ENV_INHIBIT`` in its environment). Without rules nobody writes the
    file, and there is nothing to wait for. ``now``: CLOCK_BOOTTIME seconds. Raises OSError for what is not an answer.
    """
    if not declared:
        return LockAnswer(FREE), None
    try:
        descriptor = os.open(str(path), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):  # a link, a folder, a socket
            return LockAnswer(SILENT, ("{} is not a file".format(path),)), None
        if error.errno != errno.ENOENT:
            raise
        return LockAnswer(SILENT, ("nothing holds {}: the node has not started".format(path),)), None
    try:
        answer = _ask(descriptor, path, time.clock_gettime(time.CLOCK_BOOTTIME) if now is None else now)
    except BaseException:
        os.close(descriptor)
        raise
    if answer.state != FREE:
        os.close(descriptor)
        return answer, None
    return answer, HeldLock(descriptor)


def _ask(descriptor: int, path: Path, now: float) -> LockAnswer:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return LockAnswer(SILENT, ("{} is not a file".format(path),))
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ours = True
    except BlockingIOError:
        ours = False
    try:
        state = from_json(LockState, os.pread(descriptor, _MAX_BYTES, 0), WORDS)
    except ContractError as error:
        return LockAnswer(SILENT, ("{} cannot be read: {}".format(path, error),))
    age, reasons = now - state.boot_s, _shown(state.reasons)
    if not ours:
        return LockAnswer(HELD, reasons or ("another process holds {}".format(path),))
    if age > LOCK_STALE_S or age < -LOCK_STALE_S:
        said = "the node last said {:.0f} s ago whether it may be updated (limit {:g} s)".format(age, LOCK_STALE_S)
        return LockAnswer(SILENT, (said,))
    if reasons:  # the node has a reason and not yet the lock: it is about to take it
        return LockAnswer(HELD, reasons)
    return LockAnswer(FREE)


def _shown(reasons: Tuple[str, ...]) -> Tuple[str, ...]:
    """Return the container's reasons, fit for the journal and for a terminal."""
    return tuple(printable(reason, _MAX_REASON) for reason in reasons[:_MAX_REASONS])
