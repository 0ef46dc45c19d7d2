"""Every error of paramiko and sockets becomes one of ours: none gets through."""

from __future__ import annotations

import inspect
import socket

import paramiko
import pytest
from paramiko import ssh_exception

from fleet.adapters.ssh.ssh_errors import Attempt, connect_error
from fleet.errors import RobotError, RobotOffline
from fleet.ports import RobotAddress

ATTEMPT = Attempt(RobotAddress("amr-001", "10.0.0.11", 22, "jetson"), 5.0, "id_ed25519", "bastion")
ARGUMENTS = {
    "BadAuthenticationType": ("no", ["publickey"]),
    "PartialAuthentication": (["password"],),
    "UnableToAuthenticate": ([],),
    "ChannelException": (1, "no"),
    "ProxyCommandFailure": ("ssh -W", "gone"),
    "NoValidConnectionsError": ({("10.0.0.11", 22): ConnectionRefusedError(111, "Connection refused")},),
}
KEY = paramiko.RSAKey.generate(2048)


def made(kind: type[Exception]) -> Exception:
    if kind is ssh_exception.BadHostKeyException:
        return ssh_exception.BadHostKeyException("h", KEY, KEY)
    return kind(*ARGUMENTS.get(kind.__name__, ("something",)))


KINDS = [each for _, each in inspect.getmembers(ssh_exception, inspect.isclass) if issubclass(each, Exception)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_ssh_exception_is_translated(kind: type[Exception]) -> None:
    error = connect_error(made(kind), ATTEMPT)
    assert type(error) in (RobotError, RobotOffline)
    assert error.message.startswith("amr-001: ")
    assert error.hint
    if issubclass(kind, ssh_exception.AuthenticationException):
        assert not isinstance(error, RobotOffline)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TimeoutError(), "jetson@10.0.0.11:22 via bastion did not answer within 5 s"),
        (socket.gaierror(-2, "Name or service not known"), "the name does not resolve (Name or service not known)"),
        (OSError(101, "Network is unreachable"), "Network is unreachable"),
        (made(ssh_exception.NoValidConnectionsError), "refused the connection: [Errno 111] Connection refused"),
        (EOFError(), "did not speak SSH within 5 s"),
        (paramiko.SSHException("Error reading SSH protocol banner"), "did not speak SSH within 5 s"),
    ],
)
def test_what_cannot_be_reached_is_offline(error: Exception, words: str) -> None:
    translated = connect_error(error, ATTEMPT)
    assert isinstance(translated, RobotOffline)
    assert words in translated.message


def test_a_locked_key_says_how_to_unlock_it() -> None:
    error = connect_error(paramiko.PasswordRequiredException("encrypted"), ATTEMPT)
    assert "needs a passphrase" in error.message
    assert "ssh-add" in error.hint


def test_a_defect_in_the_library_is_not_called_offline() -> None:
    error = connect_error(ValueError("odd"), ATTEMPT)
    assert type(error) is RobotError
    assert "ValueError: odd" in error.message


def test_an_ipv6_address_is_told_from_its_port() -> None:
    robot = RobotAddress("amr-001", "fd00:b:a:cd::9", 2222, "jetson")
    error = connect_error(ConnectionRefusedError(111, "Connection refused"), Attempt(robot, 5.0, "id", ""))
    assert "jetson@[fd00:b:a:cd::9]:2222" in error.message
