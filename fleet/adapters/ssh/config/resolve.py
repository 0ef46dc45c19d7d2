"""From a robot's address to the hosts to connect through: OpenSSH resolves its own configuration (`ssh -G`).

Each host is asked about once, whatever the number of robots behind it; `answers` keeps what was said on disk.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

from fleet.adapters.ssh.config.answers import Answers
from fleet.adapters.ssh.config.builtin_config import BuiltinConfig
from fleet.adapters.ssh.config.config_files import ConfigFiles, config_files, moved
from fleet.adapters.ssh.config.options import SshOptions, parsed
from fleet.adapters.ssh.config.tokens import local_user
from fleet.errors import OutsideError, RobotError
from fleet.ports import RobotAddress

_MOST_JUMPS = 8
_ASK_S = 60.0
"""`Match exec` runs programs of the user's, and a canonical name needs DNS."""

Note = Callable[[str, str], None]
"""Called with whom it is about (a robot's name, or empty) and one sentence."""


@dataclass(frozen=True)
class Route:
    """How a robot is reached: jump hosts, the nearest to us first, then the robot."""

    hops: tuple[SshOptions, ...]

    @property
    def robot(self) -> SshOptions:
        """Options of the robot itself."""
        return self.hops[-1]

    @property
    def jumps(self) -> tuple[SshOptions, ...]:
        """Options of the jump hosts."""
        return self.hops[:-1]


class Resolver:
    """Safe to use from many threads."""

    def __init__(self, config: Path | None, note: Note) -> None:
        """``config``: instead of the user's and the system's own (``ssh -F``)."""
        self._config = config
        self._note = note
        self._lock = threading.Lock()
        self._asked: dict[tuple[str, str | None, int | None], _Once] = {}
        self._builtin: BuiltinConfig | None = None
        self.calls = 0
        """How often `ssh -G` was run."""

    def route(self, robot: RobotAddress) -> Route:
        """Return the way to a robot. Raises RobotError, OutsideError for a configuration that is wrong.

        The manifest's user, port and jump hosts win; what it leaves open OpenSSH may say, and else the manifest's
        defaults hold.
        """
        port = robot.port if robot.port_given else None
        user: str | None = robot.user
        if not robot.user_given and self._options(robot, robot.host, None, port).user not in ("", local_user()):
            user = None
        through = None if robot.jump is None else list(robot.jump)
        return Route(tuple(self._hops(robot, robot.host, user, port, through, 0)))

    def _hops(
        self, robot: RobotAddress, host: str, user: str | None, port: int | None, through: list[str] | None, depth: int
    ) -> list[SshOptions]:
        """Return the hosts to ``host``. ``through``: what `ssh -J` would get, which wins over what is configured."""
        if depth > _MOST_JUMPS:
            raise RobotError(
                robot.name,
                f"the SSH configuration leads through more than {_MOST_JUMPS} jump hosts ({host} again)",
                hint=f"see `ssh -G {host} | grep proxyjump`: a jump host must not jump through itself (ProxyJump none)",
            )
        options = self._options(robot, host, user, port)
        jumps = options.jumps if through is None else through
        if not jumps:
            return [options]
        last = _spec(robot, jumps[-1])
        rest = jumps[:-1] or None
        return [*self._hops(robot, last.host, last.user, last.port, rest, depth + 1), options]

    def _options(self, robot: RobotAddress, host: str, user: str | None, port: int | None) -> SshOptions:
        key = (host, user, port)
        with self._lock:
            once = self._asked.setdefault(key, _Once())
        with once.lock:
            if once.options is None:
                once.options = self._ask(robot, host, user, port)
        return once.options

    def _ask(self, robot: RobotAddress, host: str, user: str | None, port: int | None) -> SshOptions:
        question = ["-G"]
        question += ["-p", str(port)] if port is not None else []
        question += ["-l", user] if user is not None else []
        question += ["--", host]
        answer = None if self._builtin else self._answers.find(" ".join(question))
        if answer is None:
            answer = self._run(robot, question)
        if answer is None:
            assert self._builtin is not None
            return self._builtin.options(host, user, port)
        return parsed(host, answer)

    def _run(self, robot: RobotAddress, question: list[str]) -> str | None:
        """Return what OpenSSH answers; None where its client does not run, so that our own parser must do."""
        if self._builtin is not None or shutil.which("ssh") is None:
            self._fall_back("there is no `ssh` program here")
            return None
        code, out, err = _ssh([*self._from, *question])
        with self._lock:
            self.calls += 1
        if code == 0:
            self._answers.keep(" ".join(question), out)
            return out
        words = _words(err) or f"`ssh -G` ended with exit code {code}"
        if "No user exists for uid" in words:
            self._fall_back(f"`ssh` does not run here ({words})")
            return None
        for copy, path in self._copies.items():
            words = words.replace(copy, path)
        if "configuration option" in words or " line " in words or "config" in words.lower():
            raise OutsideError(
                f"the SSH configuration cannot be read: {words}", hint="correct ~/.ssh/config (`ssh -G HOST` checks it)"
            )
        raise RobotError(
            robot.name, f"OpenSSH's configuration of {question[-1]}: {words}", hint=f"see `ssh -G {question[-1]}`"
        )

    def _fall_back(self, why: str) -> None:
        with self._lock:
            if self._builtin is None:
                self._builtin = BuiltinConfig(self._files)
                self._note("", f"{why}: ~/.ssh/config is read by fleet's own parser, which supports less of it")

    @cached_property
    def _files(self) -> ConfigFiles:
        return config_files(self._config)

    @cached_property
    def _answers(self) -> Answers:
        return Answers(self._files)

    @cached_property
    def _copies(self) -> dict[str, str]:
        """Copies of files of the user's → the files themselves."""
        if not self._files.elsewhere:
            return {}
        folder = self._answers.folder / "copies"
        return {str(folder / f"config-{n}"): str(path) for n, path in enumerate(self._files.texts)}

    @cached_property
    def _from(self) -> list[str]:
        if self._config is not None:
            return ["-F", str(self._config)]
        if self._files.elsewhere:
            return ["-F", str(moved(self._files, self._answers.folder / "copies"))]
        return []


class _Once:
    """One question: the first thread asks, the others wait for its answer."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.options: SshOptions | None = None


@dataclass(frozen=True)
class _Spec:
    user: str | None
    host: str
    port: int | None


_SPEC = re.compile(r"(?:ssh://)?(?:(?P<user>.+)@)?(?:\[(?P<v6>[^]]+)]|(?P<host>[^:@/]+))(?::(?P<port>\d{1,5}))?/?")


def _spec(robot: RobotAddress, text: str) -> _Spec:
    """Read one jump host: ``[user@]host[:port]`` or ``ssh://[user@]host[:port]``."""
    found = _SPEC.fullmatch(text)
    if found is None:
        raise RobotError(
            robot.name,
            f"the SSH configuration names an invalid jump host: {text!r}",
            hint="ProxyJump [user@]host[:port]",
        )
    user, port = found["user"], found["port"]
    return _Spec(unquote(user) if user else None, found["v6"] or found["host"], int(port) if port else None)


def _ssh(arguments: list[str]) -> tuple[int, str, str]:
    try:
        done = subprocess.run(
            ["ssh", *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=_ASK_S, check=False
        )
    except subprocess.TimeoutExpired:
        return 124, "", f"`ssh -G` did not answer within {_ASK_S:g} s: does a `Match exec` in it wait?"
    except OSError as error:
        return 127, "", str(error)
    return done.returncode, done.stdout.decode("utf-8", "surrogateescape"), done.stderr.decode("utf-8", "replace")


def _words(err: str) -> str:
    lines = [line.strip() for line in err.splitlines() if line.strip() and "Pseudo-terminal" not in line]
    return "; ".join(lines)[:400]
