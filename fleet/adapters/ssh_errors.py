"""From what paramiko and sockets raise to the errors a user meets: what happened, at which robot, what to do."""

from __future__ import annotations

import socket
from dataclasses import dataclass

import paramiko
from paramiko.ssh_exception import (
    AuthenticationException,
    ConfigParseError,
    CouldNotCanonicalize,
    IncompatiblePeer,
    NoValidConnectionsError,
    PasswordRequiredException,
    ProxyCommandFailure,
)

from fleet.errors import HostKeyError, NotPinned, RobotError, RobotOffline
from fleet.ports import RobotAddress

_OFFLINE_HINT = "check the robot's power and network; it catches up at the next rollout"


@dataclass(frozen=True, slots=True)
class Attempt:
    """What was being tried when it failed: for the words of the error."""

    robot: RobotAddress
    timeout_s: float
    tried: str = ""
    """Ways of authentication, for a person."""
    via: str = ""
    """Jump host or proxy command; empty for a direct connection."""

    @property
    def where(self) -> str:
        """``jetson@10.0.0.11:22 (via bastion)``."""
        place = f"{self.robot.user}@{self.robot.host}:{self.robot.port}"
        return f"{place} via {self.via}" if self.via else place


def connect_error(error: Exception, attempt: Attempt) -> RobotError:
    """Return the error for a connection that could not be opened. Raise it ``from`` the cause."""
    name = attempt.robot.name
    if isinstance(error, RobotError):
        return error
    if isinstance(error, AuthenticationException):
        return _authentication(error, attempt)
    if isinstance(error, (ConfigParseError, CouldNotCanonicalize)):
        return RobotError(name, f"the SSH configuration is wrong: {error}", hint="mend ~/.ssh/config")
    if isinstance(error, IncompatiblePeer):
        return RobotError(name, f"no common SSH algorithm with {attempt.where}: {error}", hint="update its OpenSSH")
    if isinstance(error, ProxyCommandFailure):
        return RobotOffline(name, f"the proxy command to {attempt.where} failed: {error}", hint=_OFFLINE_HINT)
    if isinstance(error, paramiko.SSHException) and "known_hosts" in str(error):
        hop = attempt.via.split(",")[0]
        return RobotError(
            name, f"the jump host {attempt.via} is not trusted: {error}", hint=f"log in there once: ssh {hop}"
        )
    if isinstance(error, (OSError, EOFError, paramiko.SSHException)):
        return RobotOffline(name, f"{attempt.where} {_unreachable(error, attempt)}", hint=_OFFLINE_HINT)
    return RobotError(
        name, f"cannot connect to {attempt.where}: {type(error).__name__}: {error}", hint="check host and user"
    )


def link_lost(error: BaseException | None, robot: str, doing: str) -> RobotOffline:
    """Return the error for a connection that broke while ``doing``."""
    cause = f": {error}" if error and str(error) else ""
    return RobotOffline(
        robot, f"the connection was lost during {doing}{cause}", hint="run the command again when it is back"
    )


def host_key_changed(robot: RobotAddress, pinned: paramiko.PKey, shown: paramiko.PKey) -> HostKeyError:
    """Return the error for a robot that shows another key than the pinned one."""
    return HostKeyError(
        robot.name,
        f"the host key of {robot.host}:{robot.port} is {describe(shown)}, pinned is {describe(pinned)}",
        hint=f"compare with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` at the robot itself; when it is really "
        f"the new one: fleet bootstrap --robots {robot.name} --accept-new-host-key",
    )


def host_key_missing(robot: RobotAddress, shown: paramiko.PKey) -> HostKeyError:
    """Return the error for a robot whose key nobody has pinned yet."""
    return NotPinned(
        robot.name,
        f"no host key is pinned (it shows {describe(shown)})",
        hint=f"fleet bootstrap --robots {robot.name}",
    )


def describe(key: paramiko.PKey) -> str:
    """Return ``ssh-ed25519 SHA256:…``, as ``ssh-keygen -l`` prints it."""
    return f"{key.get_name()} {key.fingerprint}"


def _authentication(error: AuthenticationException, attempt: Attempt) -> RobotError:
    name = attempt.robot.name
    if isinstance(error, PasswordRequiredException):
        return RobotError(
            name, f"the private key for {attempt.where} needs a passphrase", hint="unlock it: ssh-add KEYFILE"
        )
    return RobotError(
        name,
        f"{attempt.where} refused the login (tried {attempt.tried or 'nothing'}): {error}",
        hint="put your public key into its ~/.ssh/authorized_keys, or set user and identity_file in the manifest",
    )


def _unreachable(error: Exception, attempt: Attempt) -> str:
    if isinstance(error, socket.gaierror):
        return f"cannot be found: the name does not resolve ({error.strerror})"
    if isinstance(error, NoValidConnectionsError):
        return "refused the connection: " + "; ".join(sorted({str(each) for each in error.errors.values()}))
    if isinstance(error, TimeoutError):
        return f"did not answer within {attempt.timeout_s:g} s"
    if isinstance(error, EOFError) or "banner" in str(error) or "No existing session" in str(error):
        return f"took the connection, but did not speak SSH within {attempt.timeout_s:g} s"
    return f"cannot be reached: {error}"


def interrupted(robot: str) -> RobotError:
    """Return the error for what was ended from another thread."""
    return RobotError(robot, "was interrupted", hint="run the same command again")
