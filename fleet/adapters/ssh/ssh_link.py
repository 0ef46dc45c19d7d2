"""Opening and closing one SSH connection: jump hosts, keys, deadlines, and who may call itself this robot."""

from __future__ import annotations

import dataclasses
import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
from fabric import Config, Connection

from fleet.adapters.ssh.ssh_errors import Attempt, connect_error, describe, host_key_changed, host_key_missing
from fleet.errors import RobotError
from fleet.ports import RobotAddress

# paramiko logs every failed connection with a traceback; the same failure is raised, in words.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

_KEEPALIVE_S = 10
_DEAD_LINK_MS = 30_000
"""Sent bytes unacknowledged for this long mean that the link is dead (keepalives are such bytes)."""
_ATTEMPTS = 3
"""An sshd with too many logins under way (MaxStartups) drops connections before its banner: try again."""


class KeySeen(Exception):
    """The host key is known: leave before logging in."""

    def __init__(self, key: paramiko.PKey) -> None:
        super().__init__(describe(key))
        self.key = key


class KeyPolicy(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]
    """Decides on a key by the robot's name. paramiko asks it about every key, as its client is told none."""

    prefer: paramiko.PKey | None = None
    """Ask the server for this kind of key first: it may have several."""


class Pinned(KeyPolicy):
    """Accepts the pinned key only."""

    def __init__(self, robot: RobotAddress, pinned: paramiko.PKey | None) -> None:
        self._robot = robot
        self.prefer = pinned

    def missing_host_key(self, client: Any, hostname: str, key: paramiko.PKey) -> None:  # noqa: ARG002
        """Raise HostKeyError unless ``key`` is the pinned one."""
        if self.prefer is None:
            raise host_key_missing(self._robot, key)
        if self.prefer != key:
            raise host_key_changed(self._robot, self.prefer, key)


class Learn(KeyPolicy):
    """Stops at the key, before any login."""

    def __init__(self, prefer: paramiko.PKey | None) -> None:
        self.prefer = prefer

    def missing_host_key(self, client: Any, hostname: str, key: paramiko.PKey) -> None:  # noqa: ARG002
        """Raise KeySeen."""
        raise KeySeen(key)


def open_link(robot: RobotAddress, config: Config, policy: KeyPolicy, timeout_s: float) -> Connection:
    """Return an open connection. Raises RobotError, RobotOffline, HostKeyError; KeySeen from :class:`Learn`."""
    attempt = Attempt(robot, timeout_s)
    for attempts_left in reversed(range(_ATTEMPTS)):
        connection: Connection | None = None
        try:
            connection = _prepare(robot, config, policy, timeout_s)
            attempt = dataclasses.replace(attempt, tried=_tried(connection), via=_via(connection))
            connection.open()
            _watch(connection)
            return connection
        except BaseException as error:
            if connection is not None:
                close_link(connection)
            if isinstance(error, KeySeen) or not isinstance(error, Exception):
                raise
            if not (attempts_left and _dropped_early(error)):
                raise connect_error(error, attempt) from error
        time.sleep(0.2 * (_ATTEMPTS - attempts_left))
    raise AssertionError("the last attempt returns or raises")


def close_link(connection: Connection) -> None:
    """Close the connection and those to its jump hosts, opened or half opened."""
    for hop in (connection, *_hops(connection)):
        hop.client.close()


def _prepare(robot: RobotAddress, config: Config, policy: KeyPolicy, timeout_s: float) -> Connection:
    """Return a connection that is not open yet."""
    deadlines = {"banner_timeout": timeout_s, "auth_timeout": timeout_s, "channel_timeout": timeout_s}
    connection = Connection(
        robot.host, user=robot.user, port=robot.port, config=config.clone(), connect_kwargs=dict(deadlines)
    )
    for hop in (connection, *_hops(connection)):
        hop.connect_timeout = timeout_s
        hop.connect_kwargs = {**hop.connect_kwargs, **deadlines}
        if hop.ssh_config.get("identitiesonly", "no") == "yes":
            hop.connect_kwargs |= {"allow_agent": False, "look_for_keys": False}
    if robot.identity_file is not None:
        keys = [_identity(robot), *connection.connect_kwargs.get("key_filename", [])]
        connection.connect_kwargs = {**connection.connect_kwargs, "key_filename": keys}
    connection.connect_kwargs |= {"transport_factory": _transport_factory(policy)}
    connection.client.set_missing_host_key_policy(policy)
    for hop in _hops(connection):  # Machines of the user's own configuration: the user's own known hosts.
        hop.client.load_system_host_keys()
        hop.client.set_missing_host_key_policy(paramiko.RejectPolicy())
    return connection


def _transport_factory(policy: KeyPolicy) -> Any:
    def make(sock: Any, **options: Any) -> paramiko.Transport:
        transport = paramiko.Transport(sock, **options)
        if policy.prefer is not None:
            wanted = _algorithms(policy.prefer.get_name())
            offered = transport.get_security_options()
            first = [each for each in offered.key_types if each in wanted]
            offered.key_types = first + [each for each in offered.key_types if each not in wanted]
        return transport

    return make


def _algorithms(key_type: str) -> tuple[str, ...]:
    """Return the signature algorithms that go with a type of key."""
    return ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa") if key_type == "ssh-rsa" else (key_type,)


def _identity(robot: RobotAddress) -> str:
    path = Path(robot.identity_file or "").expanduser()
    if not path.is_file():
        raise RobotError(
            robot.name, f"the identity file {path} does not exist", hint="mend identity_file in the manifest"
        )
    return str(path)


def _hops(connection: Connection) -> Iterator[Connection]:
    """Yield the jump hosts, the nearest to the robot first."""
    hop = connection.gateway
    while isinstance(hop, Connection):
        yield hop
        hop = hop.gateway


def _via(connection: Connection) -> str:
    if isinstance(connection.gateway, str):
        return f"`{connection.gateway}`"
    return ", ".join(hop.original_host for hop in _hops(connection))


def _tried(connection: Connection) -> str:
    ways = [str(path) for path in connection.connect_kwargs.get("key_filename", [])]
    if connection.connect_kwargs.get("allow_agent", True):
        ways += ["the SSH agent's keys", "the keys in ~/.ssh"]
    return ", ".join(ways)


def _dropped_early(error: BaseException) -> bool:
    return isinstance(error, EOFError) or (
        isinstance(error, paramiko.SSHException) and isinstance(error.__cause__ or error.__context__, EOFError)
    )


def _watch(connection: Connection) -> None:
    """Notice a dead link: regular bytes, and a limit on how long they may stay unacknowledged."""
    for hop in (connection, *_hops(connection)):
        hop.transport.set_keepalive(_KEEPALIVE_S)
        if isinstance(hop.transport.sock, socket.socket) and hasattr(socket, "TCP_USER_TIMEOUT"):
            hop.transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_LINK_MS)
