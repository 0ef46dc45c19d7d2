"""What the executor tells the agent, a few times a second, over an inherited socket."""

from __future__ import annotations

import contextlib
import os
import socket
from dataclasses import dataclass

from runtime.contract.codec import SCHEMA, ContractError, canonical_json, from_json
from runtime.contract.health import ModelHealth

#: File descriptor number of the executor's end of the socket pair. Absent when the executor is started by hand.
ENV_STATUS_FD = "JETFLEET_STATUS_FD"

STARTING, SERVING, STOPPING = "starting", "serving", "stopping"

MAX_STATUS_BYTES = 128 * 1024
"""One status is one datagram; larger than this would not fit a socket's default buffer."""


@dataclass(frozen=True)
class ExecutorStatus:
    """One moment of the executor process."""

    pid: int
    phase: str
    """starting (engines being loaded) | serving (the worker must make progress) | stopping."""
    lifecycle: str
    """unconfigured | inactive | active | finalized | unknown."""
    beat: float
    """CLOCK_MONOTONIC seconds when the slower of worker and spin thread last made progress."""
    models: tuple[ModelHealth, ...] = ()
    notes: tuple[str, ...] = ()
    """Facts a person should know that are not faults."""
    fatal: str = ""
    """Why the process is about to exit, when it knows."""
    schema: int = SCHEMA


class StatusSender:
    """The executor's end. Never blocks: a status that the agent has no room for is dropped, the next one is newer."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._socket.setblocking(False)

    @classmethod
    def from_environment(cls) -> StatusSender | None:
        """Return the sender for the inherited descriptor, or None when there is no agent. Raises OSError."""
        number = os.environ.get(ENV_STATUS_FD)
        return None if not number else cls(socket.socket(fileno=int(number)))

    def send(self, status: ExecutorStatus) -> bool:
        """Send one status. Returns False when the agent is gone."""
        try:
            self._socket.send(canonical_json(status))
        except BlockingIOError:
            return True
        except (BrokenPipeError, ConnectionError):
            return False
        return True


class StatusReceiver:
    """The agent's end: keeps the newest status only."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._socket.setblocking(False)
        self.garbled = 0
        """Datagrams that were not a status."""

    def newest(self) -> ExecutorStatus | None:
        """Return the newest status waiting, or None when nothing new came."""
        latest: bytes | None = None
        for _ in range(1024):  # bounded: a sender in a tight loop must not keep the agent here
            with contextlib.suppress(BlockingIOError, ConnectionError):
                data = self._socket.recv(MAX_STATUS_BYTES)
                if data:
                    latest = data
                    continue
            break
        if latest is None:
            return None
        try:
            return from_json(ExecutorStatus, latest)
        except ContractError:
            self.garbled += 1
            return None

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def status_pair() -> tuple[StatusReceiver, socket.socket]:
    """Return the agent's end and the socket to pass on to the executor."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return StatusReceiver(ours), theirs
