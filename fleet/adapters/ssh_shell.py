"""Robots over SSH: fabric for the user's SSH configuration and agent, paramiko below for deadlines and host keys.

No `fabric.Group` (unbounded threads, no deadline) and no `Connection.run` (a dead session hangs it for ever): the
rollout has a bounded pool of its own, and commands run in `ssh_command`.
"""

from __future__ import annotations

import hashlib
import math
import shlex
import threading
import uuid
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from fabric import Config, Connection
from paramiko.ssh_exception import ConfigParseError

from fleet.adapters.host_keys import HostKeyFile
from fleet.adapters.ssh_command import OUTPUT_LIMIT, RemoteCommand
from fleet.adapters.ssh_errors import describe, host_key_changed, interrupted
from fleet.adapters.ssh_link import KeySeen, Learn, Pinned, close_link, open_link
from fleet.errors import OutsideError, RobotError
from fleet.ports import CommandResult, LogLine, RobotAddress

_LINE_LIMIT = 65536
PUT_PROGRAM = (
    'umask 077; cat >"$1" && [ "$(sha256sum <"$1" | cut -c1-64)" = "$2" ] && chmod "$3" "$1" && mv -f "$1" "$4" '
    '|| { rm -f "$1"; exit 1; }'
)
"""A link that breaks looks like the end of the input to `cat`: only the digest tells whole from half."""


class SshShells:
    """Opens connections. One for all robots; safe to use from many threads."""

    def __init__(self, known_hosts: Path, *, ssh_config: Path | None = None) -> None:
        """``known_hosts``: our pinned host keys. ``ssh_config``: instead of the user's and the system's own."""
        self._pins = HostKeyFile(known_hosts)
        self._ssh_config_path = ssh_config
        self._interrupted = threading.Event()

    def interrupt(self) -> None:
        """End what other threads run; from now on every call raises RobotError."""
        self._interrupted.set()

    def connect(self, robot: RobotAddress, *, timeout_s: float = 10.0) -> SshShell:
        """Open a connection; the deadline holds for each of: TCP, key exchange, login, and each jump host.

        Raises RobotOffline, HostKeyError, RobotError (authentication, configuration).
        """
        self._refuse_when_interrupted(robot)
        policy = Pinned(robot, self._pins.pinned(robot.name))
        return SshShell(robot.name, open_link(robot, self._config, policy, timeout_s), self._interrupted)

    def learn_host_key(self, robot: RobotAddress, *, replace: bool = False, timeout_s: float = 10.0) -> str:
        """Fetch and pin the robot's host key; return ``ssh-ed25519 SHA256:…``.

        Raises HostKeyError when another key is pinned and ``replace`` is not set.
        """
        self._refuse_when_interrupted(robot)
        pinned = self._pins.pinned(robot.name)
        policy = Learn(None if replace else pinned)
        try:
            close_link(open_link(robot, self._config, policy, timeout_s))
        except KeySeen as seen:
            if pinned is not None and pinned != seen.key and not replace:
                raise host_key_changed(robot, pinned, seen.key) from None
            if pinned != seen.key:
                self._pins.pin(robot, seen.key)
            return describe(seen.key)
        raise RobotError(robot.name, "showed no host key", hint="check that an SSH server listens there")

    def _refuse_when_interrupted(self, robot: RobotAddress) -> None:
        if self._interrupted.is_set():
            raise interrupted(robot.name)

    @cached_property
    def _config(self) -> Config:
        """Read ssh_config once for all robots. Raises OutsideError when it is not one."""
        try:
            loaded = Config(runtime_ssh_path=str(self._ssh_config_path) if self._ssh_config_path else None)
        except (OSError, UnicodeDecodeError, ConfigParseError) as error:
            raise OutsideError(
                f"the SSH configuration cannot be read: {error}", hint="mend ~/.ssh/config (`ssh -G HOST` checks it)"
            ) from error
        # Explicit and lazy, so that the clones that connections make do not read it again.
        return Config(ssh_config=loaded.base_ssh_config, lazy=True)


class SshShell:
    """One open connection; used by one thread at a time."""

    def __init__(self, robot: str, connection: Connection, interrupted: threading.Event) -> None:
        self._robot = robot
        self._connection = connection
        self._interrupted = interrupted

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
                    hint="narrow the command down",
                )

        # The robot keeps the deadline too: what a lost link leaves behind there must not run for ever.
        guarded = ["timeout", "-k", "5", str(math.ceil(timeout_s) + 2), *command]
        code = self._command(guarded, (stdin or "").encode(), timeout_s, shown=command).run(take)
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

        code = self._command(command, b"", timeout_s, shown=command).run(take)
        for tail in rest.values():
            if tail:
                on_line(tail.decode("utf-8", "replace"))
        return code

    def put(self, content: bytes, path: str, *, mode: int = 0o644) -> None:
        """Write a file whole: temporary name beside it, digest checked there, rename. Raises RobotError."""
        temporary = f"{path}.{uuid.uuid4().hex[:8]}"
        digest = hashlib.sha256(content).hexdigest()
        errors = bytearray()
        line = ["sh", "-c", PUT_PROGRAM, "put", temporary, digest, f"{mode:o}", path]
        limit_s = 60.0 + len(content) / 100_000
        command = self._command(line, content, limit_s, shown=["put", path])
        code = command.run(lambda data, _is_error: errors.extend(data))
        if code != 0:
            reason = errors.decode("utf-8", "replace").strip() or "the bytes that arrived are not those sent"
            raise RobotError(self._robot, f"cannot write {path}: {reason}", hint="check the disk and the user's rights")

    def close(self) -> None:
        """Close the connection, and those to its jump hosts."""
        close_link(self._connection)

    def _command(
        self, command: Sequence[str], stdin: bytes, timeout_s: float | None, *, shown: Sequence[str]
    ) -> RemoteCommand:
        transport = self._connection.transport
        return RemoteCommand(
            transport, self._robot, shlex.join(command), shlex.join(shown), stdin, timeout_s, self._interrupted
        )
