"""May this container serve? Only while the updater's token names it, and only with the serving lock in its hands.

The lock is ``flock`` on a file that both containers share (``runtime.contract.node.serving``). It is held as long as
publishers exist, so the other container's appear only after these are gone, however this process ends.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from runtime.contract.node.runtime_config import NODE_DIR
from runtime.contract.node.serving import (
    ENV_NODE_DIR,
    ENV_SERVE_DIR,
    ENV_SLOT,
    SERVE_DIR_INSIDE,
    SERVING_LOCK,
    SERVING_RECORD,
    TOKEN,
)
from runtime.executor.robot.serving_record import ServingRecord
from runtime.health.process.serving_token import Token


class ServingGate:
    """Token and lock, as one executor sees them. Used by one thread, but for what is said to be for any."""

    def __init__(self, slot: str, token: Path, lock: Path) -> None:
        self._token, self._path = Token(token, slot), lock
        self._record = ServingRecord(lock.with_name(SERVING_RECORD))
        self._descriptor: int | None = None
        self._tried = False
        self._ours: frozenset[bytes] = frozenset()
        self.gone: frozenset[bytes] = frozenset()
        """GIDs of velocity publishers of earlier holders of the lock, which are dead while it is in our hands."""
        self.record_problem = ""
        """Why ours are not written down, for a person: after our death they count until their lease is over."""
        self.refused = False
        """The last :meth:`enter` was refused. False before the first one."""
        self.waited = False
        """Another process served while this executor was ready: its ROS node may still be discoverable."""
        self.problem = ""
        """Why the lock cannot be held, for a person. Without it there is no handover to this container."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> ServingGate:
        """Find token and lock where the compose file puts them."""
        token = Path(environment.get(ENV_SERVE_DIR) or SERVE_DIR_INSIDE) / TOKEN
        lock = Path(environment.get(ENV_NODE_DIR) or NODE_DIR) / SERVING_LOCK
        return cls(environment.get(ENV_SLOT, ""), token, lock)

    @property
    def elsewhere(self) -> bool:
        """The token names another container. For any thread."""
        return self._token.elsewhere

    @property
    def exclusive(self) -> bool:
        """Whether there is a lock that can be held, so that two containers can take turns."""
        return self._tried and not self.problem

    @property
    def held(self) -> bool:
        """Whether the lock is in our hands."""
        return self._descriptor is not None

    @property
    def expected(self) -> bool:
        """Whether there is somebody who hands over: a token."""
        return self._token.there

    @property
    def why_not(self) -> str:
        """Why this container does not serve, for a person."""
        if self.elsewhere:
            return f"the token names another container than {self._token.mine}"
        return "another process serves: it holds the serving lock"

    def enter(self) -> bool:
        """Say whether we may serve now, and hold the lock from then on until :meth:`leave`. Never waits."""
        entered = self._enter()
        self.refused = not entered
        return entered

    def _enter(self) -> bool:
        if self.elsewhere:
            self.waited = True
            if not self.exclusive:
                self._try(self._open_and_close)
            return False
        if self._descriptor is not None and not self._replaced(self._descriptor):
            return True
        self._release()  # of a lock that was put again: our publishers are still there
        return self._try(self._take)

    def _try(self, take: Callable[[], bool]) -> bool:
        self._tried = True
        try:
            taken = take()
        except OSError as error:
            # Nobody can hold it, so nobody hands over here: by hand, or a folder that this user may not write to.
            self.problem = f"the serving lock {self._path} cannot be held: {error.strerror}"
            return True
        self.problem = ""
        return taken

    def leave(self) -> None:
        """Give the lock back. Only when no publisher exists any more; leaving twice is fine."""
        self._ours = frozenset()
        self._release()

    def _release(self) -> None:
        if self._descriptor is not None:
            self.gone = frozenset()  # whoever wrote them down may hold it again
            os.close(self._descriptor)
            self._descriptor = None

    def remember(self, gids: Collection[bytes]) -> None:
        """Write down publishers of ours, before they say anything, so that who comes after us knows them to be gone."""
        self._ours = self._ours.union(gids)
        if self._descriptor is None or not self._ours:
            return  # no lock, no proof
        try:
            self._record.add(_lock_id(self._descriptor), sorted(self._ours))
            self.record_problem = ""
        except OSError as error:
            self.record_problem = f"velocity publishers cannot be stored next to {self._path}: {error.strerror}"

    def _open(self) -> int:
        # For reading: another release's container may run as another user.
        return os.open(self._path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)

    def _open_and_close(self) -> bool:
        os.close(self._open())
        return False

    def _take(self) -> bool:
        descriptor = self._open()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            self.waited = True
            return False
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        self.gone = self._record.read(_lock_id(descriptor)) - self._ours
        self.remember(())
        return True

    def _replaced(self, descriptor: int) -> bool:
        """The file was removed or put again: a lock on the old one keeps nobody out."""
        try:
            there = self._path.stat()
        except OSError:
            return True
        return (there.st_dev, there.st_ino) != _lock_id(descriptor)


def _lock_id(descriptor: int) -> tuple[int, int]:
    ours = os.fstat(descriptor)
    return ours.st_dev, ours.st_ino
