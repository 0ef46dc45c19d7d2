"""Secrets, from where a signed release says that they are on this robot: a file, a command, or text that age opens.

No value is ever part of a message: what is said goes to the journal, to a terminal and to the operator.
"""

from __future__ import annotations

from pathlib import Path

from runtime.contract.robot.release import SecretReference
from runtime.updater.robot import process
from runtime.updater.state.world import WorldError

COMMAND_S = 30.0
MOST_BYTES = 64 * 1024
HOST_KEY = "etc/ssh/ssh_host_ed25519_key"
"""What opens text that was encrypted with age to this robot's host key (``age -R ssh_host_ed25519_key.pub``)."""


class SecretValues:
    """Reads them. ``machine`` differs in tests only."""

    def __init__(self, machine: Path) -> None:
        self._secrets_machine = machine

    def secret(self, reference: SecretReference) -> str:
        """Return the first line of what is there. Raises WorldError where that is nothing, or no text."""
        if reference.kind == "file":
            return _line(self._file(reference.value), "the secret file {}".format(reference.value))
        if reference.kind == "command":
            return _line(_command(reference.value), "the secret command `{}`".format(reference.value))
        if reference.kind == "age":
            return _line(self._age(reference.value), "the secret that age opened")
        raise WorldError("a secret is found by {!r}, which this updater does not know".format(reference.kind), _UPDATE)

    def _file(self, name: str) -> bytes:
        path = self._secrets_machine / name.lstrip("/")
        try:
            with path.open("rb") as file:
                return file.read(MOST_BYTES)
        except OSError as error:
            text = "the secret file {} cannot be read: {}".format(name, error.strerror)
            raise WorldError(text, "put it there, on the robot, readable for root alone") from error

    def _age(self, text: str) -> bytes:
        key = self._secrets_machine / HOST_KEY
        try:
            ran = process.run(["age", "--decrypt", "--identity", str(key)], COMMAND_S, given=text.encode("utf-8"))
        except WorldError as error:
            hint = "install age on the robot, or give the secret as a file or a command"
            raise WorldError("a secret needs the program age: " + error.message, hint) from error
        if ran.code != 0:
            hint = "encrypt it to this robot's host key: age --armor -R /{}.pub".format(HOST_KEY)
            raise WorldError("age does not open a secret with {}: exit code {}".format(key, ran.code), hint)
        return ran.raw


_UPDATE = "update the robot: `fleet bootstrap`"


def _command(line: str) -> bytes:
    import shlex  # an idle updater may take little memory

    what = "the secret command `{}`".format(line)
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise WorldError("{} is no command line: {}".format(what, error), "correct it in the manifest") from error
    try:
        ran = process.run(words, COMMAND_S)
    except WorldError as error:
        raise WorldError("{} cannot be run: {}".format(what, error.message), "install it on the robot") from error
    if ran.code != 0:
        # What it says on stderr may hold the secret.
        raise WorldError("{} ended with exit code {}".format(what, ran.code), "run it at the robot, as root")
    return ran.raw


def _line(content: bytes, what: str) -> str:
    line = content.split(b"\n", 1)[0].rstrip(b"\r")
    if not line:
        raise WorldError("{} is empty".format(what), "its first line is the secret")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise WorldError("{} is not text".format(what), "its first line is the secret, as UTF-8") from error
    if "\0" in text:  # no process can be given it
        raise WorldError("{} holds a zero byte".format(what), "its first line is the secret, as UTF-8")
    return text
