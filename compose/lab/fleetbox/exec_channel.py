"""Commands inside a robot through one `docker exec` that stays open.

Each `docker exec` costs an Engine and runc about a quarter of a second of a processor, and tests ask a robot several
times a second whether something has come. A small program inside the robot runs them one after the other instead.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import subprocess
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO, Any

OPEN_DEADLINE_S = 60.0
GONE = 137
"""Exit code of a command whose robot lost its power."""

SERVER = r"""
import base64, json, os, signal, socket, subprocess, sys

def run(argv, deadline):
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    try:
        process = subprocess.Popen(argv, start_new_session=True, **pipes)
    except OSError as error:
        return 127, b"", str(error).encode()
    try:
        out, err = process.communicate(timeout=deadline)
        return process.returncode, out, err
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)
    try:
        out, err = process.communicate(timeout=5)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
    return 124, out, err

def ask(path, request, deadline):
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
            one.settimeout(deadline)
            one.connect(path)
            one.sendall(json.dumps(request).encode() + b"\n")
            one.shutdown(socket.SHUT_WR)
            return 0, b"".join(iter(lambda: one.recv(65536), b"")), b""
    except OSError as error:
        return 3, b"", str(error).encode()

print("ready", flush=True)
for line in sys.stdin:
    wanted = json.loads(line)
    if "socket" in wanted:
        code, out, err = ask(wanted["socket"], wanted["request"], wanted["deadline"])
    else:
        code, out, err = run(wanted["argv"], wanted["deadline"])
    said = [code if code >= 0 else 128 - code, base64.b64encode(out).decode(), base64.b64encode(err).decode()]
    print(json.dumps(said), flush=True)
"""


class ChannelClosed(Exception):
    """The program inside the robot is gone: its robot was stopped, or made anew."""


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class Channel:
    """One open `docker exec`. Used by one thread at a time."""

    def __init__(self, container: str, user: str, incarnation: str) -> None:
        """``incarnation``: when the container was started. Raises ChannelClosed."""
        self.incarnation = incarnation
        command = ["docker", "exec", "--interactive", "--user", user, container, "python3", "-I", "-u", "-c", SERVER]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )
        self._left = b""
        try:
            self._line(OPEN_DEADLINE_S)
        except (ChannelClosed, TimeoutError) as error:
            self.close()
            raise ChannelClosed(str(error)) from error

    @property
    def alive(self) -> bool:
        """Whether it may still be used."""
        return self._process.poll() is None

    def run(self, request: dict[str, Any], wait_s: float) -> Said:
        """Have something done. Raises ChannelClosed, TimeoutError (the channel is closed then)."""
        try:
            _pipe(self._process.stdin).write(json.dumps(request).encode() + b"\n")
            _pipe(self._process.stdin).flush()
        except OSError as error:
            raise ChannelClosed(str(error)) from error
        code, out, err = json.loads(self._line(wait_s))
        return Said(code, base64.b64decode(out), base64.b64decode(err))

    def close(self) -> None:
        """End it, and the client that carries it."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                _pipe(pipe).close()
        self._process.wait()

    def _line(self, wait_s: float) -> bytes:
        ends, descriptor = time.monotonic() + wait_s, _pipe(self._process.stdout).fileno()
        while b"\n" not in self._left:
            if not select.select([descriptor], [], [], max(0.0, ends - time.monotonic()))[0]:
                raise TimeoutError(f"no answer within {wait_s:g} s")
            part = os.read(descriptor, 1 << 16)
            if not part:
                raise ChannelClosed("the robot's container ended, or does not run")
            self._left += part
        line, _, self._left = self._left.partition(b"\n")
        return line


class Channels:
    """Open channels by container and user; each is lent to one thread at a time."""

    def __init__(self, incarnation: Callable[[str], str]) -> None:
        """``incarnation``: container → when it was started."""
        self._incarnation = incarnation
        self._free: dict[tuple[str, str], list[Channel]] = {}
        self._guard = threading.Lock()
        _EVERY.add(self)

    def run(self, container: str, user: str, request: dict[str, Any], wait_s: float) -> Said:
        """Have something done inside a container. Raises ChannelClosed when it does not run; TimeoutError.

        A command whose robot went down under it ends with :data:`GONE`; one that was meant for a robot that has been
        started since is given to that.
        """
        while True:
            channel = self._take(container, user)
            try:
                said = channel.run(request, wait_s)
            except ChannelClosed:
                channel.close()
                if self._incarnation(container) in ("", channel.incarnation):
                    return Said(GONE, b"", b"the robot went down")
                continue
            except BaseException:
                channel.close()
                raise
            with self._guard:
                self._free.setdefault((container, user), []).append(channel)
            return said

    def close(self) -> None:
        """Close all that are free."""
        with self._guard:
            free, self._free = self._free, {}
        for channels in free.values():
            for channel in channels:
                channel.close()

    def _take(self, container: str, user: str) -> Channel:
        while True:
            with self._guard:
                free = self._free.get((container, user))
                channel = free.pop() if free else None
            if channel is None:
                return Channel(container, user, self._incarnation(container))
            if channel.alive:
                return channel
            channel.close()


_EVERY: weakref.WeakSet[Channels] = weakref.WeakSet()


def close_all() -> None:
    """Close the free channels of this process: those whose robots went down leave no dead children to its parent."""
    for channels in list(_EVERY):
        channels.close()


def run_request(argv: Sequence[str], deadline_s: float) -> dict[str, Any]:
    """Return the request to run a command."""
    return {"argv": list(argv), "deadline": deadline_s}


def socket_request(path: str, request: dict[str, Any], deadline_s: float) -> dict[str, Any]:
    """Return the request to ask a Unix socket one JSON question."""
    return {"socket": path, "request": request, "deadline": deadline_s}


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None, "it was opened as a pipe"
    return pipe
