"""One child process with a deadline: its lines shown as they come, its end explained."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.engines.backend import Progress

QUIET_S = 30.0
"""After this long without a line, one is said for it: how long it runs, and how much memory it has."""
_KILL_WAIT_S = 10.0
_TAIL_LINES = 30


@dataclass(frozen=True)
class Ended:
    """How a child ended."""

    code: int
    """Exit status; negative: the signal that ended it."""
    past_deadline: bool
    """It was ended here, because its time was over."""
    out_of_memory: bool
    """The kernel counted a process ended for memory meanwhile."""
    seconds: float
    tail: str
    """Its last lines."""

    @property
    def was_killed(self) -> bool:
        """SIGKILL from outside: the kernel, when memory is out, or a person."""
        return self.code == -signal.SIGKILL and not self.past_deadline


def supervise(command: Sequence[str], *, deadline_s: float, progress: Progress, quiet_s: float = QUIET_S) -> Ended:
    """Run ``command`` to its end or to the deadline. It never outlives this call, not even when that is interrupted."""
    started = time.monotonic()
    kills = oom_kills()
    # A session of its own: a signal to it reaches what it started, and Ctrl-C at a terminal reaches only us.
    child = subprocess.Popen(
        list(command),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    try:
        in_time = _follow(child, started + deadline_s, quiet_s, progress, tail)
    finally:
        _end(child)
    return Ended(
        code=child.returncode,
        past_deadline=not in_time,
        out_of_memory=oom_kills() > kills,
        seconds=time.monotonic() - started,
        tail="\n".join(tail),
    )


def _follow(child: subprocess.Popen[bytes], ends: float, quiet_s: float, progress: Progress, tail: deque[str]) -> bool:
    """Pass on lines until the child closes its output and ends; return False when time is over first."""
    assert child.stdout is not None
    descriptor = child.stdout.fileno()
    os.set_blocking(descriptor, False)
    started = spoke = time.monotonic()
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            now = time.monotonic()
            if now >= ends:
                return False
            if not selector.select(min(ends - now, max(spoke + quiet_s - now, 0.01))):
                if time.monotonic() - spoke >= quiet_s:
                    spoke = time.monotonic()
                    progress(f"still building after {spoke - started:.0f} s{_memory_of(child.pid)}")
                continue
            block = os.read(descriptor, 1 << 16)
            if not block:
                return _exits(child, ends)
            spoke = time.monotonic()
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                _pass_on(line, progress, tail)


def _pass_on(line: bytes, progress: Progress, tail: deque[str]) -> None:
    text = line.decode("utf-8", errors="replace").rstrip()
    if text:
        tail.append(text)
        progress(text)


def _exits(child: subprocess.Popen[bytes], ends: float) -> bool:
    try:
        child.wait(max(ends - time.monotonic(), 0.01))
    except subprocess.TimeoutExpired:
        return False
    return True


def _end(child: subprocess.Popen[bytes]) -> None:
    """End what still runs of the child's process group, and reap it."""
    with contextlib.suppress(ProcessLookupError):  # all of it has ended
        os.killpg(child.pid, signal.SIGKILL)
    child.wait(_KILL_WAIT_S)
    assert child.stdout is not None
    child.stdout.close()


def _memory_of(pid: int) -> str:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return ""
    return f", {pages * os.sysconf('SC_PAGE_SIZE') >> 20} MiB of memory in use"


def oom_kills(root: Path = Path("/")) -> int:
    """Return how many processes the kernel has ended for memory: in this cgroup, and on the host where it says so."""
    total = 0
    for name in ("sys/fs/cgroup/memory.events", "proc/vmstat"):
        try:
            lines = (root / name).read_text("ascii").splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
    return total
