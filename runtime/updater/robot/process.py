"""Running the docker client: argument lists, a deadline each, its words kept for the error."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import struct
import subprocess
import termios
import threading
import time
from dataclasses import dataclass
from typing import Callable, Dict, List, Optional, Sequence

from runtime.updater.state.world import StepInterrupted, WorldError

#: What of our own environment the docker client gets. Anything else could override a release folder's ``.env``.
_PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR", "DOCKER_HOST", "DOCKER_CONFIG", "DOCKER_CONTEXT")
_TAIL = 4000


@dataclass(frozen=True)
class Ran:
    """A command that ran to its end."""

    code: int
    out: str
    err: str
    raw: bytes = b""
    """What it said, byte for byte: ``out`` has marks where that is no UTF-8."""


def environment() -> Dict[str, str]:
    """Return the environment for the docker client."""
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    kept.setdefault("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    kept.setdefault("HOME", "/root")
    return kept


def run(argv: Sequence[str], timeout_s: float, cwd: Optional[str] = None, given: Optional[bytes] = None) -> Ran:
    """Run ``argv`` to its end. Raises WorldError when it is missing or does not end in time; then it is ended.

    ``given``: what it reads on stdin; None: nothing is there.
    """
    process = _start(
        argv, subprocess.PIPE, subprocess.PIPE, cwd, subprocess.DEVNULL if given is None else subprocess.PIPE
    )
    try:
        out, err = process.communicate(given, timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        _end(process)
        raise WorldError(
            "`{}` did not end within {:g} s".format(" ".join(argv[:3]), timeout_s),
            "see the Engine's log",
            transient=True,
        ) from error
    except BaseException:
        _end(process)
        raise
    return Ran(process.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"), out)


def follow(
    argv: Sequence[str],
    on_text: Callable[[str], None],
    stall_s: float,
    interrupt: threading.Event,
    name: str = "",
) -> int:
    """Run ``argv`` on a terminal of its own (so that it shows progress) and hand over what it says.

    Raises WorldError, which calls it ``name``, when it says nothing for ``stall_s``, Interrupted when ``interrupt`` is
    set; then it is ended.
    """
    name = name or "`{}`".format(" ".join(argv[:2]))
    master, slave = os.openpty()
    try:
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
        process = _start(argv, slave, slave, None)
    except BaseException:
        os.close(master)
        raise
    finally:
        os.close(slave)
    try:
        _read_all(master, name, on_text, stall_s, interrupt)
        return process.wait(timeout=stall_s)
    except BaseException:
        _end(process)
        raise
    finally:
        os.close(master)


def _read_all(
    master: int, name: str, on_text: Callable[[str], None], stall_s: float, interrupt: threading.Event
) -> None:
    heard = time.monotonic()
    while True:
        if interrupt.is_set():
            raise StepInterrupted()
        ready, _, _ = select.select([master], [], [], 0.2)
        if not ready:
            if time.monotonic() - heard > stall_s:
                text = "{} made no progress for {:g} s".format(name, stall_s)
                raise WorldError(text, "check the robot's link to the registry", transient=True)
            continue
        heard = time.monotonic()
        try:
            data = os.read(master, 65536)
        except OSError as error:
            if error.errno == errno.EIO:  # the other side of a terminal is closed
                return
            raise
        if not data:
            return
        on_text(data.decode("utf-8", "replace"))


def _start(
    argv: Sequence[str], out: int, err: int, cwd: Optional[str], given: int = subprocess.DEVNULL
) -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(
            list(argv),
            stdin=given,
            stdout=out,
            stderr=err,
            cwd=cwd,
            env=environment(),
            start_new_session=True,
        )
    except OSError as error:
        what = cwd if cwd and not os.path.isdir(cwd) else argv[0]  # noqa: PTH112
        raise WorldError("cannot run {}: {}".format(what, error.strerror or error), "is Docker installed?") from error


def _end(process: "subprocess.Popen[bytes]") -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            break
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=3.0)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def tail(lines: List[str]) -> str:
    """Return the end of what was said, short enough for a message."""
    return " ".join(line.strip() for line in lines if line.strip())[-_TAIL:]
