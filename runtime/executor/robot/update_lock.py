"""The node's hold on the robot's update lock: a lock of the kernel's, so that it dies with the process.

The file says when it was written and why the robot must not be updated. Taken here: ``flock`` on the same file, from
the container, on a folder that the host shares. Nobody waits for the lock; the updater asks again.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

from runtime.contract.codec import canonical_json
from runtime.contract.node.resources import LockState


def boot_seconds() -> float:
    """Seconds since boot, the same for the container and its host."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class UpdateLock:
    """One file, open for as long as the node lives. Used by one thread."""

    def __init__(self, path: Path, clock: Callable[[], float] = boot_seconds) -> None:
        self._path, self._clock = path, clock
        self._descriptor: int | None = None
        self.held = False
        self.problem = ""
        """Why the lock cannot do its work, for a person; empty when it can."""

    def update(self, reasons: tuple[str, ...]) -> None:
        """Hold the lock for as long as there are ``reasons``; a heartbeat either way. Never raises."""
        try:
            if self._descriptor is None or self._replaced(self._descriptor):
                self.close()
                self._descriptor = _opened(self._path)
            self._hold(self._descriptor, bool(reasons))
            _write(self._descriptor, LockState(self._clock(), os.getpid(), reasons))
        except OSError as error:
            self.problem = (
                f"the update lock {self._path} cannot be held ({error.strerror}), and without it the host does not "
                "update; is its folder shared with the host and writable for this user (docs/robot.md)?"
            )
        else:
            self.problem = (
                "" if self.held or not reasons else "an update holds the update lock: the robot is being changed"
            )

    def close(self) -> None:
        """Give the lock back. Closing twice is fine."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor, self.held = None, False

    def _hold(self, descriptor: int, wanted: bool) -> None:
        if wanted == self.held:
            return
        if not wanted:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            self.held = False
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # the updater has it: its switch has begun
            return
        self.held = True

    def _replaced(self, descriptor: int) -> bool:
        """The file was removed or put again: a lock on the old one is seen by nobody."""
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return True
        ours = os.fstat(descriptor)
        return (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino)


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)


def _write(descriptor: int, state: LockState) -> None:
    """In place: a lock is on the file itself, so it is never replaced. Padded, so that one write is always whole."""
    text = canonical_json(state)
    os.pwrite(descriptor, text + b" " * (-len(text) % 4096), 0)
    os.ftruncate(descriptor, len(text) + (-len(text) % 4096))
