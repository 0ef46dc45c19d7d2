"""Whose turn it is to serve: the token on the host's disk, and the agents' own sockets."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Optional

from runtime.contract.node.runtime_config import NODE_DIR
from runtime.contract.node.serving import FIRST, SECOND, SERVE_DIR, TOKEN, health_socket, token_text
from runtime.updater.state.world import WorldError
from runtime.updater.storage.durable import replace_durable


class ServingToken:
    """The token, below ``root``; the sockets, below the shared folder of ``machine``."""

    def __init__(self, root: Path, machine: Path) -> None:
        self._token = root / Path(SERVE_DIR).name / TOKEN
        self._node = machine / NODE_DIR.lstrip("/")

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
        try:
            if self._token.exists() and self._token.read_bytes() == text:
                return
            self._token.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            self._token.parent.chmod(0o755)  # every container's user reads it
            replace_durable(self._token, text)
        except OSError as error:
            raise WorldError("cannot write {}: {}".format(self._token, error), "free space on that volume") from error

    def own_socket(self, slot: str, timeout_s: float) -> Optional["socket.socket"]:
        """Connect to the slot's own agent; None when it has no socket, or nobody listens there any more."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(timeout_s)
        try:
            connection.connect(str(self._node / health_socket(slot)))
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            return None
        except BaseException:
            connection.close()
            raise
        return connection
