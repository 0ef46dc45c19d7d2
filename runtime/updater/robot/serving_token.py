"""What root tells containers: whose turn it is to serve, the lock that executors hold, which engines may be put in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable, Optional

from runtime.contract.codec import canonical_json
from runtime.contract.node.serving import FIRST, SECOND, SERVE_DIR, SERVING_LOCK, TOKEN, token_text
from runtime.contract.node.signed_engines import SignedEngines, signed_engines_file
from runtime.updater.state.world import WorldError
from runtime.updater.storage.durable import remove, replace_durable


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
            raise WorldError("cannot read {}: {}".format(self._token, error), "check it on the robot") from error
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

    def set_signed_engines(self, slot: str, signed: Optional[SignedEngines], say: Callable[[str], None]) -> None:
        """Tell the slot's container which engines somebody signed for; None: any may be put in. Never raises: where the
        disk takes no file, what was signed before stays, and is said."""
        path = self._token.with_name(signed_engines_file(slot))
        try:
            if signed is None:
                return remove(path)
            text = canonical_json(signed)
            if not path.exists() or path.read_bytes() != text:
                path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                replace_durable(path, text)
        except OSError as error:
            say("cannot write {}: {}: engines are put in by what it said before".format(path, error.strerror))
        return None
