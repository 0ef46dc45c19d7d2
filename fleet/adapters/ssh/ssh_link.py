"""Opening and closing one SSH connection: jump hosts, keys, deadlines, and who may call itself this robot."""

from __future__ import annotations

import dataclasses
import logging
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import paramiko
from fabric import Config, Connection
from paramiko.ssh_exception import NoValidConnectionsError

from fleet.adapters.ssh.config.options import SshOptions
from fleet.adapters.ssh.config.resolve import Note, Resolver, Route
from fleet.adapters.ssh.host_keys import HostKeyFile
from fleet.adapters.ssh.judge import ShownKey, UserKnownHosts
from fleet.adapters.ssh.keys import FileKeys, KeyRing
from fleet.adapters.ssh.login import log_in
from fleet.adapters.ssh.proxy import ProxyCommandFailed, ProxyProcess
from fleet.adapters.ssh.ssh_errors import Attempt, connect_error
from fleet.adapters.ssh.ssh_trust import JumpTrust, RobotTrust, Trust
from fleet.adapters.ssh.transport import LinkTransport, host_key_kinds
from fleet.errors import FleetError, RobotError
from fleet.ports import RobotAddress

# paramiko logs every failed connection with a traceback; the same failure is raised, in words.
logging.getLogger("paramiko").addHandler(logging.NullHandler())
logging.getLogger("paramiko").propagate = False

_KEEPALIVE_S = 10
_DEAD_LINK_MS = 30_000
"""Sent bytes unacknowledged for this long mean that the link is dead (keepalives are such bytes)."""
_NO_FILES = Config(lazy=True, overrides={"load_ssh_configs": False})
"""OpenSSH has resolved the user's configuration: fabric reads none of its own or of ssh's."""
_ATTEMPTS = 3
"""An sshd with too many logins under way (MaxStartups) drops connections before its banner: try again."""


@dataclasses.dataclass(frozen=True)
class Operator:
    """What all connections of this process share."""

    resolver: Resolver
    pins: HostKeyFile
    known: UserKnownHosts
    keys: FileKeys
    note: Note


@dataclasses.dataclass
class Link:
    """An open connection, and those that it goes through."""

    transports: list[LinkTransport] = dataclasses.field(default_factory=list)
    proxy: ProxyProcess | None = None
    connection: Connection | None = None
    """fabric's connection to the robot, over the last transport; sessions are opened by it."""

    @property
    def transport(self) -> LinkTransport:
        """The one to the robot."""
        return self.transports[-1]

    def close(self) -> None:
        """Close everything, opened or half opened."""
        if self.connection is not None:
            self.connection.close()
        for transport in reversed(self.transports):
            transport.close()
        if self.proxy is not None:
            self.proxy.close()


def open_link(robot: RobotAddress, operator: Operator, timeout_s: float) -> Link:
    """Return an open connection to a robot whose key is pinned. Raises RobotError, RobotOffline, HostKeyError."""
    return _open(robot, operator, timeout_s, lambda trust, link, route: _log_in(trust, link, route, operator))


def learn_key(robot: RobotAddress, operator: Operator, timeout_s: float, *, replace: bool) -> str:
    """Pin the key that the robot shows, before any login; return ``ssh-ed25519 SHA256:…``. Raises as `open_link`."""
    learned: list[str] = []

    def learn(trust: RobotTrust, link: Link, _route: Route) -> None:
        learned.append(trust.learn(ShownKey(link.transport.shown), accept=replace))

    _open(robot, operator, timeout_s, learn).close()
    return learned[0]


Finish = Callable[[RobotTrust, Link, Route], None]


def _open(robot: RobotAddress, operator: Operator, timeout_s: float, finish: Finish) -> Link:
    route = operator.resolver.route(robot)
    robot = dataclasses.replace(robot, port=route.robot.port, user=route.robot.user)
    attempt = Attempt(robot, timeout_s, via=_via(route))
    for attempts_left in reversed(range(max(_ATTEMPTS, route.robot.number("connectionattempts", 1)))):
        link = Link()
        try:
            for number, options in enumerate(route.hops):
                last = number == len(route.hops) - 1
                attempt = dataclasses.replace(attempt, jump="" if last else options.where)
                trust = _trust(robot, options, operator, jump=not last)
                _negotiate(link, options, trust, timeout_s)
                if isinstance(trust, JumpTrust):
                    trust.check(ShownKey(link.transport.shown))
                    _authenticate(link, options, operator, None)
                else:
                    finish(trust, link, route)
            _watch(link, route)
            link.connection = _connection(robot, link.transport)
            return link
        except BaseException as error:
            failed = _proxy_failure(link, error)
            link.close()
            if not isinstance(error, Exception) or isinstance(error, FleetError):
                raise
            if not (attempts_left and failed is None and _dropped_early(error, link)):
                raise connect_error(failed or error, _told(attempt, link)) from error
        time.sleep(0.2 * (_ATTEMPTS - min(attempts_left, _ATTEMPTS - 1)))
    raise AssertionError("the last attempt returns or raises")


def _connection(robot: RobotAddress, transport: LinkTransport) -> Connection:
    """Return fabric's connection over a transport that is logged in already."""
    # A copy each: a connection loads its configuration when it is made, and robots are connected to side by side.
    connection = Connection(robot.host, user=robot.user, port=robot.port, config=_NO_FILES.clone())
    connection.client._transport = connection.transport = transport
    return connection


def _trust(robot: RobotAddress, options: SshOptions, operator: Operator, *, jump: bool) -> JumpTrust | RobotTrust:
    if jump:
        return JumpTrust(robot, options, operator.known, operator.note)
    return RobotTrust(robot, options, operator.known, operator.pins)


def _negotiate(link: Link, options: SshOptions, trust: Trust, timeout_s: float) -> None:
    """Connect to a host, through the one before, and exchange keys."""
    deadline_s = float(options.number("connecttimeout") or timeout_s)
    kinds = _kinds(options, trust)
    if link.transports:
        before = link.transport
        place = (options.hostname, options.port)
        sock: Any = before.open_channel("direct-tcpip", place, ("127.0.0.1", 0), timeout=deadline_s)
    elif options.proxy_command:
        if options.is_on("proxyusefdpass"):
            raise RobotError(
                trust.robot.name,
                f"the SSH configuration for {options.host} has ProxyUseFdpass, which fleet does not support",
                hint="use a ProxyCommand that passes the bytes on (without ProxyUseFdpass), or ProxyJump",
            )
        link.proxy = ProxyProcess(options.proxy_command)
        sock = link.proxy.sock
    else:
        sock = _dial(options, deadline_s)
    transport = LinkTransport(sock, kinds=kinds, certificates=trust.certificates, deadline_s=deadline_s)
    link.transports.append(transport)
    _restrict(transport, options, trust.robot)
    transport.use_compression(options.is_on("compression"))
    transport.negotiate(deadline_s)


def _dial(options: SshOptions, timeout_s: float) -> socket.socket:
    """Connect by TCP to the first address that answers."""
    family = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}.get(options.text("addressfamily"), socket.AF_UNSPEC)
    errors: dict[tuple[str, int], OSError] = {}
    found = socket.getaddrinfo(options.hostname, options.port, family, socket.SOCK_STREAM)
    for kind, _, _, _, address in found:
        sock = socket.socket(kind, socket.SOCK_STREAM)
        try:
            sock.settimeout(timeout_s)
            if options.text("bindaddress"):
                sock.bind((options.text("bindaddress"), 0))
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
        except OSError as error:
            sock.close()
            errors[(str(address[0]), options.port)] = error
    if all(isinstance(error, TimeoutError) for error in errors.values()):
        raise TimeoutError
    other = [error for error in errors.values() if not isinstance(error, ConnectionRefusedError)]
    if len(errors) == len(other) == 1:
        raise other[0]
    raise NoValidConnectionsError(errors)


def _restrict(transport: LinkTransport, options: SshOptions, robot: RobotAddress) -> None:
    """Offer only what the configuration allows, in its order."""
    offered = transport.get_security_options()
    for keyword, name in (("ciphers", "ciphers"), ("macs", "digests"), ("kexalgorithms", "kex")):
        wanted, ours = options.names(keyword), getattr(offered, name)
        chosen = [each for each in wanted if each in ours]
        if wanted and not chosen:
            raise _nothing_common(robot, options, keyword, wanted, ours)
        if chosen:
            setattr(offered, name, chosen)


def _kinds(options: SshOptions, trust: Trust) -> list[str]:
    """Return host key algorithms to offer."""
    wanted, ours = options.names("hostkeyalgorithms"), paramiko.Transport._preferred_keys
    kinds = host_key_kinds(trust.kinds, wanted, ours)
    if not kinds:
        raise _nothing_common(trust.robot, options, "hostkeyalgorithms", wanted, ours)
    return kinds


def _nothing_common(
    robot: RobotAddress, options: SshOptions, keyword: str, wanted: Sequence[str], ours: Sequence[str]
) -> RobotError:
    return RobotError(
        robot.name,
        f"of the {keyword} in the SSH configuration for {options.host} fleet speaks none ({', '.join(wanted[:4])})",
        hint=f"add one of: {', '.join(ours[:4])}",
    )


def _log_in(trust: RobotTrust, link: Link, route: Route, operator: Operator) -> None:
    trust.check(ShownKey(link.transport.shown))
    _authenticate(link, route.robot, operator, _identity(trust.robot))


def _authenticate(link: Link, options: SshOptions, operator: Operator, named: Path | None) -> None:
    log_in(link.transport, options, KeyRing(options, operator.keys, named))


def _identity(robot: RobotAddress) -> Path | None:
    if robot.identity_file is None:
        return None
    path = Path(robot.identity_file).expanduser()
    if not path.is_file():
        raise RobotError(
            robot.name, f"the identity file {path} does not exist", hint="correct identity_file in the manifest"
        )
    return path


def _via(route: Route) -> str:
    if route.hops[0].proxy_command:
        return f"`{route.hops[0].proxy_command}`"
    return ", ".join(options.host for options in route.jumps)


def _told(attempt: Attempt, link: Link) -> Attempt:
    said = link.transports[-1].said if link.transports else ""
    return dataclasses.replace(attempt, said=said)


def _proxy_failure(link: Link, error: BaseException) -> ProxyCommandFailed | None:
    """Return how the proxy command failed, when that is why there was no SSH at its other end."""
    if isinstance(error, ProxyCommandFailed):
        return error
    lost = isinstance(error, (EOFError, OSError, paramiko.SSHException))
    if link.proxy is None or not lost or len(link.transports) != 1 or link.transports[0].initial_kex_done:
        return None
    return link.proxy.failure()


def _dropped_early(error: BaseException, link: Link) -> bool:
    if link.transports and link.transports[-1].said:
        return False
    return isinstance(error, EOFError) or (
        isinstance(error, paramiko.SSHException) and isinstance(error.__cause__ or error.__context__, EOFError)
    )


def _watch(link: Link, route: Route) -> None:
    """Notice a dead link: regular bytes, and a limit on how long they may stay unacknowledged."""
    for transport, options in zip(link.transports, route.hops, strict=True):
        transport.set_keepalive(options.number("serveraliveinterval") or _KEEPALIVE_S)
        is_tcp = isinstance(transport.sock, socket.socket) and transport.sock.family != socket.AF_UNIX
        if is_tcp and hasattr(socket, "TCP_USER_TIMEOUT"):
            transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_LINK_MS)
