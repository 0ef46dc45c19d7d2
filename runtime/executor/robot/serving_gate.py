"""May this container serve? Only while the updater's token names it, and only with the serving lock in its hands.

The lock is ``flock`` on a file of root's that both containers only read (``runtime.contract.node.serving``). It is held
as long as publishers exist, so the other container's appear only after these are gone, however this process ends. Where
there is neither token nor lock nobody hands over, and the lock is a file in the container's own folder.
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

    def __init__(self, slot: str, token: Path, lock: Path, node: Path) -> None:
        """``lock`` lies beside the token; ``node`` is the container's own folder."""
        self._token, self._shared, self._own = Token(token, slot), lock, node / SERVING_LOCK
        self._record = ServingRecord(node / SERVING_RECORD)
        self._descriptor: int | None = None
        self._tried = False
        self._ours: frozenset[bytes] = frozenset()
        self.gone: frozenset[bytes] = frozenset()
        """GIDs of velocity publishers of this container's earlier executors, dead while the lock is in our hands. What
        another container had is not asked for: it could name whoever lives."""
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
        serve = Path(environment.get(ENV_SERVE_DIR) or SERVE_DIR_INSIDE)
        node = Path(environment.get(ENV_NODE_DIR) or NODE_DIR)
        return cls(environment.get(ENV_SLOT, ""), serve / TOKEN, serve / SERVING_LOCK, node)

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
            # Nobody can hold it, so nobody hands over here: by hand, or an updater of before this lock.
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
            self.record_problem = f"velocity publishers cannot be stored in {self._own.parent}: {error.strerror}"

    @property
    def _path(self) -> Path:
        """The lock that counts: root's, wherever somebody hands over."""
        return self._shared if self._token.there or self._shared.exists() else self._own

    def _open(self) -> int:
        path = self._path
        made = os.O_CREAT if path == self._own else 0  # root's is root's to make
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | made, 0o644)

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
