"""Robots over SSH: OpenSSH's configuration, keys and known hosts; paramiko below for deadlines and many at a time.

`ssh_link` opens connections, `ssh_command` runs commands in them; here is what the rest of `fleet` sees.
"""

from __future__ import annotations

import hashlib
import math
import shlex
import threading
import uuid
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from fleet.adapters.ssh.config.resolve import Resolver
from fleet.adapters.ssh.host_keys import HostKeyFile
from fleet.adapters.ssh.judge import UserKnownHosts
from fleet.adapters.ssh.keys import FileKeys
from fleet.adapters.ssh.ssh_command import OUTPUT_LIMIT, RemoteCommand, Take
from fleet.adapters.ssh.ssh_errors import interrupted
from fleet.adapters.ssh.ssh_link import Link, Operator, learn_key, open_link
from fleet.errors import NoHost, RobotError
from fleet.ports import CommandResult, LogLine, RobotAddress

_LINE_LIMIT = 65536
_NO_DEADLINE_S = 30 * 86400
"""Of `logs --follow`: somebody watches it, and the robot ends it when they are gone."""
PUT_PROGRAM = (
    'umask 077; cat >"$1" && [ "$(sha256sum <"$1" | cut -c1-64)" = "$2" ] && chmod "$3" "$1" && mv -f "$1" "$4" '
    '|| { rm -f "$1"; exit 1; }'
)
"""A link that breaks looks like the end of the input to `cat`: only the digest tells whole from half."""


class SshShells:
    """Opens connections. One for all robots; safe to use from many threads."""

    def __init__(
        self,
        known_hosts: Path,
        *,
        ssh_config: Path | None = None,
        robots: Collection[str] = (),
        on_note: Callable[[str, str], None] = lambda _robot, _words: None,
    ) -> None:
        """``known_hosts``: our pinned host keys. ``ssh_config``: instead of the user's and the system's own.

        ``robots``: every name in the fleet. ``on_note`` is called once with each thing that is to be said and stops
        nothing: with a robot's name, or an empty one, and a sentence.
        """
        self._told: set[tuple[str, str]] = set()
        self._lock = threading.Lock()
        self._on_note = on_note
        self.resolver = Resolver(ssh_config, self._note)
        pins = HostKeyFile(known_hosts, robots)
        self._operator = Operator(self.resolver, pins, UserKnownHosts(), FileKeys(), self._note)
        self._interrupted = threading.Event()

    def interrupt(self) -> None:
        """End what other threads run; from now on every call raises RobotError."""
        self._interrupted.set()

    def connect(self, robot: RobotAddress, *, timeout_s: float = 10.0) -> SshShell:
        """Open a connection; the deadline holds for each of: TCP, key exchange, login, and each jump host.

        Raises RobotOffline, HostKeyError, RobotError (authentication), OutsideError (configuration).
        """
        self._refuse_when_interrupted(robot)
        _refuse_without_host(robot)
        link = open_link(robot, self._operator, timeout_s)
        return SshShell(robot.name, link, self._interrupted, self._noisy)

    def learn_host_key(self, robot: RobotAddress, *, replace: bool = False, timeout_s: float = 10.0) -> str:
        """Fetch and pin the robot's host key; return ``ssh-ed25519 SHA256:…``.

        Raises HostKeyError when another key is known and ``replace`` is not set.
        """
        self._refuse_when_interrupted(robot)
        _refuse_without_host(robot)
        return learn_key(robot, self._operator, timeout_s, replace=replace)

    def _refuse_when_interrupted(self, robot: RobotAddress) -> None:
        if self._interrupted.is_set():
            raise interrupted(robot.name)
        if not robot.host:
            raise NoHost(robot.name)

    def _note(self, robot: str, words: str, about: str = "") -> None:
        with self._lock:
            told = (robot, about or words)
            if told in self._told:
                return
            self._told.add(told)
        self._on_note(robot, words)

    def _noisy(self, robot: str, noise: str) -> None:
        first = "".join(letter for letter in noise.splitlines()[0] if letter.isprintable())[:60]
        words = f"its login shell prints {first!r} with every command: cut off (see ~/.bashrc there)"
        self._note(robot, words, about="noise")


def _refuse_without_host(robot: RobotAddress) -> None:
    if not robot.host:
        raise RobotError(
            robot.name,
            "it has no host in the manifest: it pulls, and SSH does not reach it",
            hint=f"what it says is at the hub: fleet status --robots {robot.name}; or give it a host",
        )


class SshShell:
    """One open connection; used by one thread at a time."""

    def __init__(self, robot: str, link: Link, interrupted: threading.Event, noisy: Callable[[str, str], None]) -> None:
        self._robot = robot
        self._link = link
        self._interrupted = interrupted
        self._noisy = noisy

    def run(self, command: Sequence[str], *, stdin: str | None = None, timeout_s: float = 30.0) -> CommandResult:
        """Run an argument list to its end. Raises RobotSilent past the deadline, RobotError past 4 MiB of output."""
        out, err = bytearray(), bytearray()

        def take(data: bytes, is_error: bool) -> None:
            buffer = err if is_error else out
            buffer += data
            if len(buffer) > OUTPUT_LIMIT:
                raise RobotError(
                    self._robot,
                    f"`{shlex.join(command)[:80]}` printed more than {OUTPUT_LIMIT >> 20} MiB and was stopped",
                    hint="limit the command's output",
                )

        code = self._run(command, None if stdin is None else stdin.encode(), timeout_s, take)
        return CommandResult(code, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))

    def stream(self, command: Sequence[str], on_line: LogLine, *, timeout_s: float | None = None) -> int:
        """Run a command, hand its output (both streams) over line by line, return its exit code.

        KeyboardInterrupt ends the remote command too.
        """
        rest = {False: b"", True: b""}

        def take(data: bytes, is_error: bool) -> None:
            *lines, tail = (rest[is_error] + data).split(b"\n")
            while len(tail) > _LINE_LIMIT:
                lines.append(tail[:_LINE_LIMIT])
                tail = tail[_LINE_LIMIT:]
            rest[is_error] = tail
            for line in lines:
                on_line(line.decode("utf-8", "replace").rstrip("\r"))

        code = self._run(command, None, timeout_s, take)
        for tail in rest.values():
            if tail:
                on_line(tail.decode("utf-8", "replace"))
        return code

    def put(self, content: bytes, path: str, *, mode: int = 0o644) -> None:
        """Write a file whole: temporary name next to it, digest checked there, rename. Raises RobotError."""
        temporary = f"{path}.{uuid.uuid4().hex[:8]}"
        digest = hashlib.sha256(content).hexdigest()
        errors = bytearray()
        line = ["sh", "-c", PUT_PROGRAM, "put", temporary, digest, f"{mode:o}", path]
        limit_s = 60.0 + len(content) / 100_000
        code = self._run(line, content, limit_s, lambda data, _is_error: errors.extend(data), ["put", path])
        if code != 0:
            reason = errors.decode("utf-8", "replace").strip() or "the bytes that arrived are not those sent"
            raise RobotError(
                self._robot, f"cannot write {path}: {reason}", hint="check the disk and the user's permissions"
            )

    def close(self) -> None:
        """Close the connection, and those to its jump hosts."""
        self._link.close()

    def _run(
        self,
        command: Sequence[str],
        stdin: bytes | None,
        timeout_s: float | None,
        take: Take,
        shown: Sequence[str] = (),
    ) -> int:
        # The robot keeps the deadline too: what a lost link leaves behind there must not run for ever.
        limit_s = _NO_DEADLINE_S if timeout_s is None else math.ceil(timeout_s) + 2
        remote = RemoteCommand(
            self._link.transport,
            self._robot,
            ["timeout", "-k", "5", str(limit_s), *command],
            shlex.join(shown or command),
            stdin,
            timeout_s,
            self._interrupted,
        )
        try:
            return remote.run(take)
        finally:
            noise = remote.noise
            if noise:
                self._noisy(self._robot, noise)
