"""What the executor tells the agent a few times a second, and the agent the executor once, over an inherited socket.

Both ways one datagram is one document, the newest one counts, and nobody ever waits for room or for an answer.
"""

from __future__ import annotations

import contextlib
import os
import socket
from dataclasses import dataclass
from typing import Optional

from runtime.contract.codec import SCHEMA, ContractError, canonical_json, from_json
from runtime.contract.node.health import ModelHealth
from runtime.contract.robot.power import ServingOrders
from runtime.health.process.round_trip import RoundTrip

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
    transport: Optional[RoundTrip] = None  # noqa: UP045 - the codec reads no other spelling
    """None: not made yet."""
    standing_by: str = ""
    """Why a node that could serve leaves it to another container; empty: it does not."""
    managed: bool = False
    """A lifecycle manager brings the node up and down (``autostart: false``)."""
    exclusive: bool = False
    """It holds the serving lock when it serves, so that another container can take turns with it."""
    schema: int = SCHEMA


class StatusSender:
    """The executor's end. Never blocks: a status that the agent has no room for is dropped, the next one is newer."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._socket.setblocking(False)
        self.garbled = 0
        """Datagrams that were no orders."""

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

    def orders(self) -> ServingOrders | None:
        """Return the agent's newest orders, or None when nothing new came. What are none leave the last in force."""
        latest = _newest(self._socket)
        try:
            return None if latest is None else from_json(ServingOrders, latest)
        except ContractError:
            self.garbled += 1
            return None


class StatusReceiver:
    """The agent's end: keeps the newest status only."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._socket.setblocking(False)
        self.garbled = 0
        """Datagrams that were not a status."""

    def newest(self) -> ExecutorStatus | None:
        """Return the newest status waiting, or None when nothing new came."""
        latest = _newest(self._socket)
        if latest is None:
            return None
        try:
            return from_json(ExecutorStatus, latest)
        except ContractError:
            self.garbled += 1
            return None

    def tell(self, orders: ServingOrders) -> None:
        """Tell the executor. Never blocks: orders that it has no room for are told again a second later."""
        with contextlib.suppress(BlockingIOError, ConnectionError):
            self._socket.send(canonical_json(orders))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _newest(sock: socket.socket) -> bytes | None:
    """Return the last datagram that waits, or None when none does."""
    latest: bytes | None = None
    for _ in range(1024):  # bounded: a sender in a tight loop must not keep the reader here
        with contextlib.suppress(BlockingIOError, ConnectionError):
            data = sock.recv(MAX_STATUS_BYTES)
            if data:
                latest = data
                continue
        break
    return latest


def status_pair() -> tuple[StatusReceiver, socket.socket]:
    """Return the agent's end and the socket to pass on to the executor."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return StatusReceiver(ours), theirs
