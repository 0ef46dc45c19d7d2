"""`fleet.ports.RobotShells` in memory: machines with a host key, a few programs, files."""

from __future__ import annotations

import posixpath
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fleet.errors import HostKeyError, NoHost, NotPinned, RobotError, RobotOffline, RobotSilent
from fleet.ports import CommandResult, LogLine, RobotAddress
from runtime.contract.robot.update import COMMAND_PATH

OUTPUT_LIMIT = 4 * 1024 * 1024
Program = Callable[[Sequence[str], str], CommandResult]
"""Arguments after the name, stdin → result."""


class Hangs(Exception):
    """Raised by a program that never ends: its caller's deadline does."""


@dataclass
class FakeHost:
    """One machine."""

    host_key: str = "ssh-ed25519 SHA256:first"
    online: bool = True
    login: bool = True
    programs: dict[str, Program] = field(default_factory=dict)
    files: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    folders: set[str] = field(default_factory=lambda: {"/tmp"})
    connections: int = 0
    """Opened so far."""
    open_connections: int = 0


class FakeRobotShells:
    """Machines by ``host``; pins are kept by the robot's name."""

    def __init__(self, hosts: dict[str, FakeHost]) -> None:
        self.hosts = hosts
        self.pins: dict[str, str] = {}
        self.interrupted = threading.Event()

    def interrupt(self) -> None:
        self.interrupted.set()

    def connect(self, robot: RobotAddress, *, timeout_s: float = 10.0) -> FakeShell:
        host = self._reach(robot)
        pinned = self.pins.get(robot.name)
        if pinned is None:
            hint = f"fleet bootstrap --robots {robot.name}"
            raise NotPinned(robot.name, f"no host key is pinned (it shows {host.host_key})", hint=hint)
        if pinned != host.host_key:
            raise self._changed(robot, host)
        if not host.login:
            raise RobotError(robot.name, "refused the login", hint="put your public key there")
        host.connections += 1
        host.open_connections += 1
        return FakeShell(robot.name, host, self.interrupted)

    def learn_host_key(self, robot: RobotAddress, *, replace: bool = False, timeout_s: float = 10.0) -> str:
        host = self._reach(robot)
        if self.pins.get(robot.name, host.host_key) != host.host_key and not replace:
            raise self._changed(robot, host)
        self.pins[robot.name] = host.host_key
        return host.host_key

    def _reach(self, robot: RobotAddress) -> FakeHost:
        if self.interrupted.is_set():
            raise RobotError(robot.name, "was interrupted", hint="run the same command again")
        if not robot.host:
            raise NoHost(robot.name)
        host = self.hosts.get(robot.host)
        if host is None or not host.online:
            raise RobotOffline(robot.name, f"{robot.host} did not answer", hint="check its power and network")
        return host

    def _changed(self, robot: RobotAddress, host: FakeHost) -> HostKeyError:
        hint = f"fleet bootstrap --robots {robot.name} --accept-new-host-key"
        return HostKeyError(
            robot.name, f"the host key is {host.host_key}, pinned is {self.pins[robot.name]}", hint=hint
        )


class FakeShell:
    """One connection. Knows `echo`, `cat`, `false`, `sleep`, `yes` and `ls` of what is not there."""

    def __init__(self, robot: str, host: FakeHost, interrupted: threading.Event) -> None:
        self._robot = robot
        self._host = host
        self._interrupted = interrupted
        self._open = True

    def run(self, command: Sequence[str], *, stdin: str | None = None, timeout_s: float = 30.0) -> CommandResult:
        self._alive(command)
        if command[0] == "sleep" and float(command[1]) < timeout_s:
            self._interrupted.wait(float(command[1]))
        if command[0] == "sleep" and float(command[1]) > timeout_s:
            raise RobotSilent(self._robot, f"`sleep` did not end within {timeout_s:g} s and was stopped", hint="look")
        if command[0] == "yes":
            raise RobotError(self._robot, "`yes` printed more than 4 MiB and was stopped", hint="narrow it down")
        try:
            result = self._program(command)(command[1:], stdin or "")
        except Hangs:
            shown = " ".join(command[:2])
            raise RobotSilent(
                self._robot, f"`{shown}` did not end within {timeout_s:g} s and was stopped", hint="look"
            ) from None
        self._alive(command)
        return result

    def stream(self, command: Sequence[str], on_line: LogLine, *, timeout_s: float | None = None) -> int:
        result = self.run(command, timeout_s=timeout_s or 1e9)
        for line in (result.stdout + result.stderr).splitlines():
            on_line(line)
        return result.exit_code

    def put(self, content: bytes, path: str, *, mode: int = 0o644) -> None:
        self._alive(["put"])
        if posixpath.dirname(path) not in self._host.folders:
            raise RobotError(self._robot, f"cannot write {path}: no such folder", hint="check the disk")
        self._host.files[path] = (content, mode)

    def close(self) -> None:
        if self._open:
            self._open = False
            self._host.open_connections -= 1

    def _alive(self, command: Sequence[str]) -> None:
        if self._interrupted.is_set():
            raise RobotError(self._robot, "was interrupted", hint="run the same command again")
        if not self._open:
            raise RobotOffline(self._robot, f"the connection was lost during {command[0]}", hint="run it again")
        if not self._host.online:
            raise RobotOffline(self._robot, f"the connection was lost during {command[0]}", hint="run it again")

    def _program(self, command: Sequence[str]) -> Program:
        builtin: dict[str, Program] = {
            "echo": lambda args, _: CommandResult(0, " ".join(args) + "\n", ""),
            "cat": self._cat,
            "false": lambda _args, _in: CommandResult(1, "", ""),
            "sleep": lambda _args, _in: CommandResult(0, "", ""),
            "ls": lambda args, _: CommandResult(2, "", f"ls: cannot access '{args[0]}': No such file or directory\n"),
        }
        missing: Program = lambda _args, _in: CommandResult(127, "", f"sh: {command[0]}: not found\n")  # noqa: E731
        return (builtin | self._host.programs).get(command[0], missing)

    def _cat(self, args: Sequence[str], stdin: str) -> CommandResult:
        if not args:
            return CommandResult(0, stdin, "")
        if args[0] not in self._host.files:
            return CommandResult(1, "", f"cat: {args[0]}: No such file or directory\n")
        return CommandResult(0, self._host.files[args[0]][0].decode(), "")


def updater_program(host: FakeHost, program: Program) -> None:
    """Put a program where `fleet bootstrap` puts the updater."""
    host.programs[COMMAND_PATH] = program
