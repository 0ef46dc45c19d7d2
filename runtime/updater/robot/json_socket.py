"""The socket: one JSON line asks, one JSON line answers, then the connection ends."""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Optional

from runtime.contract.codec import ContractError
from runtime.contract.json_decoder import WORDS, decode, decode_object
from runtime.updater.state.world import WorldError
from runtime.updater.storage.durable import remove, share
from runtime.updater.transaction.update_state import EXIT, Rejected

MAX_REQUEST_BYTES = 4 * 1024 * 1024
#: What the updater itself answers: an attestation with a report of a megabyte in it.
MAX_ANSWER_BYTES = 16 * 1024 * 1024
READ_S, ANSWER_S = 10.0, 330.0
MAX_CONNECTIONS = 16


@dataclass(frozen=True)
class Peer:
    """Who asks, by the kernel's word."""

    pid: int
    uid: int
    gid: int


class Afterwards:
    """An answer, and what is to be done once it has been given."""

    def __init__(self, value: Any, action: Callable[[], None]) -> None:
        self.value = value
        self.action = action


Handler = Callable[[Dict[str, Any], Peer], Any]
"""Takes a request and who asks, returns JSON values, or Afterwards with them.

Raises Rejected, WorldError, ContractError, OSError."""


class Server:
    """Listens on a Unix socket that root and operators may use, or whoever ``mode`` says and ``admit`` lets in."""

    def __init__(
        self,
        path: Path,
        handler: Handler,
        mode: int = 0o660,
        admit: Optional[Callable[[Peer], None]] = None,
        max_bytes: int = MAX_REQUEST_BYTES,
    ) -> None:
        self._path = path
        self._handler = handler
        self._admit = admit
        self._max_bytes = max_bytes
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Under another name first: nobody may connect before the mode is right, and a dead socket is replaced whole.
        temporary = path.with_name(path.name + ".{}".format(os.getpid()))
        remove(temporary)
        self._socket.bind(str(temporary))
        share(temporary, mode, operators=True)
        self._socket.listen(MAX_CONNECTIONS)
        temporary.replace(path)

    def serve(self) -> None:
        """Accept until the process ends."""
        while True:
            connection, _ = self._socket.accept()
            self._slots.acquire()
            try:
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()
            except RuntimeError as error:  # the machine gives no more threads now
                sys.stderr.write("socket: a client was refused: {}\n".format(error))
                connection.close()
                self._slots.release()

    def close(self) -> None:
        """Stop listening and remove the socket."""
        self._socket.close()
        remove(self._path)

    def _answer(self, connection: socket.socket) -> None:
        afterwards: Callable[[], None] = _nothing
        try:
            with connection:
                connection.settimeout(READ_S)
                reply = self._reply(connection)
                if isinstance(reply.get("value"), Afterwards):
                    afterwards, reply["value"] = reply["value"].action, reply["value"].value
                connection.settimeout(READ_S)
                connection.sendall(json.dumps(reply).encode("utf-8") + b"\n")
        except OSError as error:
            sys.stderr.write("socket: a client disconnected: {}\n".format(error))
        finally:
            self._slots.release()
            afterwards()

    def _reply(self, connection: socket.socket) -> Dict[str, Any]:
        try:
            peer = peer_of(connection)
            if self._admit is not None:
                self._admit(peer)
            line = read_line(connection, self._max_bytes, time.monotonic() + READ_S)
            request = decode(line, "the request", WORDS)
            if not isinstance(request, dict):
                raise Rejected("usage", "a request is a JSON object")
            return {"ok": True, "value": self._handler(request, peer)}
        except Rejected as error:
            return _no(error.kind, error.message, error.hint)
        except (ContractError, ValueError) as error:
            return _no("usage", str(error), "")
        except WorldError as error:
            return _no("outside", error.message, error.hint)
        except OSError as error:
            return _no("outside", str(error), "")
        except Exception as error:  # noqa: BLE001  (the one boundary: a defect must not take the updater down)
            sys.excepthook(*sys.exc_info())
            return _no("internal", "{}: {}".format(type(error).__name__, error), "see the updater's log")


def _nothing() -> None:
    return


def peer_of(connection: socket.socket) -> Peer:
    """Return who connected (SO_PEERCRED: pid, uid, gid)."""
    size = struct.calcsize("3i")
    return Peer(*struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)))


def ask(path: Path, request: Dict[str, Any], timeout_s: float = ANSWER_S) -> Any:
    """Ask the updater on ``path``. Raises Rejected; ConnectionError when nobody answers there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect(str(path))
            try:  # noqa: SIM105  (contextlib is not loaded otherwise)
                connection.sendall(json.dumps(request).encode("utf-8") + b"\n")
            except (BrokenPipeError, ConnectionResetError):
                pass  # refused before all of it was read: the answer, which is here already, says why
            answer = decode_object(read_line(connection, MAX_ANSWER_BYTES), "the updater's answer")
        except PermissionError as error:
            hint = "use sudo, or join the group jetfleet"
            raise Rejected("outside", "no permission to use {}".format(path), hint) from error
        except (OSError, ValueError) as error:
            raise ConnectionError("the updater does not answer on {}: {}".format(path, error)) from error
    if answer.get("ok"):
        return answer.get("value")
    error_ = answer.get("error")
    said = {key: value for key, value in error_.items() if isinstance(value, str)} if isinstance(error_, dict) else {}
    kind = said.get("kind", "internal")
    raise Rejected(kind if kind in EXIT else "internal", said.get("message", ""), said.get("hint", ""))


def read_line(connection: socket.socket, max_bytes: int, deadline: Optional[float] = None) -> bytes:
    """Return what comes before the first newline. Raises Rejected for too much, too little or too slow.

    ``deadline``: monotonic seconds for the whole line; None: the connection's own timeout for each piece of it.
    """
    found = bytearray()
    looked = 0
    while True:
        end = found.find(b"\n", looked)
        if end >= 0:
            return bytes(found[:end])
        looked = len(found)
        if looked > max_bytes:
            raise Rejected("usage", "a line is at most {} bytes".format(max_bytes))
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0.0:
                raise Rejected("usage", "the line took too long")
            connection.settimeout(left)
        piece = connection.recv(65536)
        if not piece:
            raise Rejected("usage", "the connection ended before the line did")
        found += piece


def _no(kind: str, message: str, hint: str) -> Dict[str, Any]:
    return {"ok": False, "error": {"kind": kind, "message": message, "hint": hint}}
