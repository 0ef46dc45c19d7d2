"""From what paramiko and sockets raise to the errors a user meets: what happened, at which robot, what to do."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass

import paramiko
from paramiko.ssh_exception import (
    AuthenticationException,
    ChannelException,
    ConfigParseError,
    CouldNotCanonicalize,
    IncompatiblePeer,
    NoValidConnectionsError,
    PasswordRequiredException,
    ProxyCommandFailure,
)

from fleet.adapters.ssh.login import LoginRefused
from fleet.adapters.ssh.proxy import ProxyCommandFailed
from fleet.errors import RobotError, RobotOffline
from fleet.ports import RobotAddress

_PROHIBITED = 1
"""SSH_OPEN_ADMINISTRATIVELY_PROHIBITED (RFC 4254 §5.1)."""
_SILENT = re.compile(r"refused|timed out|no route to host|host is down|network is unreachable", re.IGNORECASE)
_JUMP_HINT = "it is the jump host that does not answer: check it and your network; robots behind it catch up later"
_OFFLINE_HINT = "check the robot's power and network; it catches up at the next rollout"


@dataclass(frozen=True, slots=True)
class Attempt:
    """What was being tried when it failed: for the words of the error."""

    robot: RobotAddress
    timeout_s: float
    tried: str = ""
    """Ways of authentication, for a person."""
    via: str = ""
    """Jump hosts or proxy command; empty for a direct connection."""
    jump: str = ""
    """The jump host at which it failed, ``ops@bastion:22``; empty when that was the robot itself."""
    said: str = ""
    """The other side's own words when it closed the connection."""

    @property
    def where(self) -> str:
        """``jetson@10.0.0.11:22 (via bastion)``, or the jump host."""
        if self.jump:
            return f"the jump host {self.jump}"
        place = f"{self.robot.user}@{self.robot.place}"
        return f"{place} via {self.via}" if self.via else place


def connect_error(error: Exception, attempt: Attempt) -> RobotError:
    """Return the error for a connection that could not be opened. Raise it ``from`` the cause."""
    name = attempt.robot.name
    if isinstance(error, RobotError):
        return error
    if isinstance(error, LoginRefused):
        return RobotError(name, f"{attempt.where} {error.words}", hint=error.hint)
    if isinstance(error, AuthenticationException):
        return _authentication(error, attempt)
    if isinstance(error, (ConfigParseError, CouldNotCanonicalize)):
        return RobotError(name, f"the SSH configuration is wrong: {error}", hint="correct ~/.ssh/config")
    if isinstance(error, IncompatiblePeer):
        return RobotError(name, f"no common SSH algorithm with {attempt.where}: {error}", hint="update its OpenSSH")
    if isinstance(error, ChannelException):
        return _not_forwarded(error, attempt)
    if isinstance(error, (ProxyCommandFailed, ProxyCommandFailure)):
        return _proxy(error, attempt)
    if attempt.jump and isinstance(error, socket.gaierror):
        words = f"{attempt.where} {_unreachable(error, attempt)}"
        return RobotError(name, words, hint="correct ProxyJump in ~/.ssh/config, or join its network (VPN)")
    if isinstance(error, (OSError, EOFError, paramiko.SSHException)):
        hint = _JUMP_HINT if attempt.jump else _OFFLINE_HINT
        return RobotOffline(name, f"{attempt.where} {_unreachable(error, attempt)}", hint=hint)
    return RobotError(
        name, f"cannot connect to {attempt.where}: {type(error).__name__}: {error}", hint="check host and user"
    )


def _not_forwarded(error: ChannelException, attempt: Attempt) -> RobotError:
    """A jump host that is logged in to does not open the way to the next host: by rule, or as that one is not there."""
    name, target = attempt.robot.name, attempt.jump or attempt.robot.place
    through = attempt.via.split(", ")[-1] or "the jump host"
    if error.code == _PROHIBITED:
        return RobotError(
            name,
            f"the jump host {through} does not forward connections to {target}: {error.text}",
            hint="see AllowTcpForwarding and PermitOpen in its sshd_config, and restrict in authorized_keys",
        )
    return RobotOffline(
        name, f"{target} cannot be reached from the jump host {through}: {error.text}", hint=_OFFLINE_HINT
    )


def _proxy(error: ProxyCommandFailed | ProxyCommandFailure, attempt: Attempt) -> RobotError:
    """Pass the proxy command's own words on. It is ours to correct unless it says that the robot does not answer."""
    name, host = attempt.robot.name, attempt.robot.host
    code = getattr(error, "code", None)
    ended = f" (exit code {code})" if code else ""
    words = f"the proxy command {attempt.via} failed{ended}: {error}"
    text = str(error)
    if "open failed: connect failed" in text or (host in text and _SILENT.search(text)):
        return RobotOffline(name, words, hint=_OFFLINE_HINT)
    return RobotError(name, words, hint="correct ProxyCommand in ~/.ssh/config, or the host that it connects through")


def link_lost(error: BaseException | None, robot: str, doing: str) -> RobotOffline:
    """Return the error for a connection that broke while ``doing``."""
    cause = f": {error}" if error and str(error) else ""
    return RobotOffline(
        robot, f"the connection was lost during {doing}{cause}", hint="run the command again when it is back"
    )


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
    if attempt.said:
        return f"closed the connection: {' '.join(attempt.said.split())[:200]}"
    if isinstance(error, EOFError) or "banner" in str(error) or "No existing session" in str(error):
        return f"accepted the connection, but did not speak SSH within {attempt.timeout_s:g} s"
    return f"cannot be reached: {error}"


def interrupted(robot: str) -> RobotError:
    """Return the error for what was ended from another thread."""
    return RobotError(robot, "was interrupted", hint="run the same command again")
