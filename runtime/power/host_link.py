"""Asking the host for a power mode: from a thread of its own, because nvpmodel takes its time and may hang."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runtime.contract.codec import ContractError, from_dict
from runtime.contract.json_decoder import WORDS, decode_object
from runtime.contract.robot.power import PowerAnswer

ASK_S = 10.0
"""The host forgets a wish that is not repeated within two minutes."""
ANSWER_S = 75.0
"""nvpmodel is run up to three times for one answer."""
MAX_ANSWER_BYTES = 65536


@dataclass(frozen=True)
class HostSays:
    """The last word of the host."""

    answer: PowerAnswer | None = None
    """None while it has never answered."""
    problem: str = ""
    """Why it does not answer now."""


class HostLink:
    """One wish at a time. ``want`` never blocks; what came of it is in ``says``."""

    def __init__(self, path: Path, *, period_s: float = ASK_S, log: Callable[[str], None] = print) -> None:
        self._path, self._period_s, self._log = path, period_s, log
        self._changed = threading.Condition()
        self._wish: tuple[str, str] | None = None
        self._news = self._stop = False
        self.says = HostSays()
        """Replaced as a whole."""
        self._thread = threading.Thread(target=self._run, name="power-host", daemon=True)

    def start(self) -> None:
        """Begin to ask, as soon as something is wanted."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more. An answer that is still awaited is not waited for."""
        with self._changed:
            self._stop = True
            self._changed.notify_all()

    def want(self, mode: str, why: str) -> None:
        """Want ``mode`` from now on; asked for at once when it is another one."""
        with self._changed:
            self._news |= self._wish is None or self._wish[0] != mode
            self._wish = (mode, why)
            if self._news:
                self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stop or self._news, self._period_s)
                if self._stop:
                    return
                wish, self._news = self._wish, False
            if wish is not None:
                self._hear(self._ask(*wish))

    def _ask(self, mode: str, why: str) -> HostSays:
        try:
            return HostSays(ask_host(self._path, mode, why))
        except HostError as error:
            return HostSays(self.says.answer, str(error))

    def _hear(self, says: HostSays) -> None:
        if says.problem and says.problem != self.says.problem:
            self._log(f"power: {says.problem}")
        self.says = says


class HostError(Exception):
    """The host does not do what it is asked. The message says why and what to do."""


def ask_host(path: Path, mode: str, why: str, timeout_s: float = ANSWER_S) -> PowerAnswer:
    """Ask the host's updater for ``mode``. Raises HostError."""
    request = json.dumps({"verb": "power", "want": mode, "why": why}).encode() + b"\n"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            connection.connect(str(path))
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(request)  # one that refuses us may answer, and close, before it has read this
            reply = decode_object(_line(connection), "the host", WORDS)
        if reply["ok"]:
            return from_dict(PowerAnswer, reply["value"])
        error = reply["error"]
        raise HostError(f"the host refuses power mode {mode}: {error['message']} -> {error['hint']}")
    except OSError as error:
        hint = "is fleet-updater running there, and new enough? `fleet bootstrap` installs it"
        raise HostError(f"the host does not answer on {path}: {error.strerror or error} -> {hint}") from error
    except (ValueError, KeyError, TypeError, ContractError) as error:
        raise HostError(f"the host gave an invalid answer on {path}: {error} -> run `fleet bootstrap`") from error


def _line(connection: socket.socket) -> bytes:
    found = bytearray()
    while b"\n" not in found and len(found) < MAX_ANSWER_BYTES:
        piece = connection.recv(4096)
        if not piece:
            break
        found += piece
    return bytes(found)
