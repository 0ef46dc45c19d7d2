"""Whose turn it is to serve: the token on the host's disk, and beside it the lock that executors hold."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Optional

from runtime.contract.node.serving import FIRST, SECOND, SERVE_DIR, SERVING_LOCK, TOKEN, token_text
from runtime.updater.state.world import WorldError
from runtime.updater.storage.durable import replace_durable


class ServingToken:
    """Both below ``root``. Containers read them, and write neither."""

    def __init__(self, root: Path) -> None:
        self._token = root / Path(SERVE_DIR).name / TOKEN

    def serving(self) -> Optional[str]:
        """Return the slot that the token names, or None when there is no token."""
        try:
            said = self._token.read_text(encoding="ascii")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise WorldError("cannot read {}: {}".format(self._token, error), "look at it on the robot") from error
        slot = next((slot for slot in (FIRST, SECOND) if token_text(slot) == said), None)
        if slot is None:
            raise WorldError("{} names no slot: {!r}".format(self._token, said[:20]), "remove it and roll out again")
        return slot

    def set_serving(self, slot: str) -> None:
        """Name the slot whose container serves from now on; on disk when this returns."""
        text = token_text(slot).encode("ascii")
        self.make_serving_lock()
        try:
            if self._token.exists() and self._token.read_bytes() == text:
                return
            replace_durable(self._token, text)
        except OSError as error:
            raise WorldError("cannot write {}: {}".format(self._token, error), "free space on that volume") from error

    def make_serving_lock(self) -> None:
        """Make the lock's file. It stays what it is once it is there: a lock on a file put in its place is another."""
        path = self._token.with_name(SERVING_LOCK)
        try:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            path.parent.chmod(0o755)  # every container's user reads it
            os.close(os.open(str(path), os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644))
            path.chmod(0o644)
        except OSError as error:
            raise WorldError("cannot make {}: {}".format(path, error), "free space on that volume") from error
