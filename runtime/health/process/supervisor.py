"""Keeps one executor process alive: starts it, watches its heartbeat, kills it when it hangs, gives up on a crash loop.

``step()`` never blocks and is called a few times a second from the agent's one loop; all waiting is by deadline.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from runtime.contract.robot.power import ServingOrders
from runtime.health.process.exits import describe_exit
from runtime.health.process.status import ENV_STATUS_FD, SERVING, ExecutorStatus, StatusReceiver, status_pair

STARTING, RUNNING, RESTARTING, CRASH_LOOP, STOPPED = "starting", "running", "restarting", "crash_loop", "stopped"

AGAIN_S = 1.0
"""How often a start that something is in the way of is tried."""


@dataclass(frozen=True)
class Policy:
    """Deadlines and limits, all in seconds."""

    heartbeat_timeout_s: float = 5.0
    startup_timeout_s: float = 120.0
    max_restarts: int = 5
    restart_window_s: float = 120.0
    backoff_first_s: float = 0.5
    backoff_max_s: float = 10.0
    kill_after_s: float = 7.0
    """From a SIGTERM to the SIGKILL of a process that hangs: longer than its own deadline (5 s)."""


@dataclass(frozen=True)
class Snapshot:
    """The executor process as its supervisor sees it now."""

    state: str = STOPPED
    pid: int | None = None
    restarts: int = 0
    heartbeat_age_s: float | None = None
    """None until the process has said anything."""
    run_age_s: float = 0.0
    """Since this process was started."""
    last_exit: str = ""
    status: ExecutorStatus | None = None
    live: bool = False
    held_up: str = ""
    """Why it is not started now, although its time has come."""


class Supervisor:
    """Owns at most one child process."""

    def __init__(
        self,
        command: Sequence[str],
        policy: Policy,
        *,
        environment: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        log: Callable[[str], None] = print,
        in_the_way: Callable[[], str] = lambda: "",
    ) -> None:
        """``in_the_way`` says why the child could not run now, or nothing. Asked before every start, which waits, and
        after every end, which then is not held against the child."""
        self._in_the_way = in_the_way
        self._held_up = ""
        self._command = list(command)
        self._policy = policy
        self._environment = dict(os.environ if environment is None else environment)
        self._clock = clock
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._receiver: StatusReceiver | None = None
        self._status: ExecutorStatus | None = None
        self._started_at = 0.0
        self._next_start: float | None = clock()
        self._ends: deque[float] = deque()
        self._kill_at: float | None = None
        self._why_killed = ""
        self._stopping = False
        self.restarts = 0
        self.last_exit = ""
        self.state = STARTING

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs."""
        return None if self._process is None else self._process.pid

    def step(self) -> Snapshot:
        """Do what is due now and say how things are."""
        now = self._clock()
        if self._process is not None:
            self._watch(now)
        if self._process is None and not self._stopping and self._next_start is not None and now >= self._next_start:
            self._start_or_wait(now)
        return self._snapshot(now)

    def tell(self, orders: ServingOrders) -> None:
        """Tell the child how much its models may do; without one there is nobody to tell."""
        if self._receiver is not None:
            self._receiver.tell(orders)

    def request_stop(self, deadline_s: float) -> None:
        """Ask the child to end; ``step()`` kills it after ``deadline_s``. No restart follows."""
        if self._stopping:
            return
        self._stopping = True
        self._terminate(self._clock(), deadline_s, "asked to stop")

    @property
    def stopped(self) -> bool:
        """True when a stop was asked for and no child is left."""
        return self._stopping and self._process is None

    def _start_or_wait(self, now: float) -> None:
        before, self._held_up = self._held_up, self._in_the_way()
        if not self._held_up:
            self._start(now)
            return
        if not before:
            self._log(f"executor not started: {self._held_up}")
        self._next_start = now + AGAIN_S

    def _start(self, now: float) -> None:
        receiver, theirs = status_pair()
        environment = {**self._environment, ENV_STATUS_FD: str(theirs.fileno())}
        try:
            self._process = subprocess.Popen(
                self._command, env=environment, pass_fds=[theirs.fileno()], start_new_session=True
            )
        except OSError as error:
            receiver.close()
            self._ended(now, f"cannot start {self._command[0]}: {error.strerror}")
            return
        finally:
            theirs.close()
        self._receiver, self._status, self._started_at = receiver, None, now
        self._next_start = self._kill_at = None
        self._why_killed = ""

    def _watch(self, now: float) -> None:
        process, receiver = self._process, self._receiver
        assert process is not None
        assert receiver is not None
        code = process.poll()
        status = receiver.newest()
        if status is not None:
            self._status = status
        if code is not None:
            receiver.close()
            self._process, self._receiver = None, None
            why = self._why_killed or (self._status.fatal if self._status is not None else "")
            self._ended(now, describe_exit(code, why))
        elif self._kill_at is not None:
            if now >= self._kill_at:
                _signal(process.pid, signal.SIGKILL)
        elif fault := self._fault(now):
            self._log(f"executor {process.pid}: {fault}; ending it")
            self._terminate(now, self._policy.kill_after_s, fault)
        elif self.state != RUNNING and self._status is not None and _is_up(self._status):
            self.state = RUNNING

    def _fault(self, now: float) -> str:
        """Return why the running child must be ended, or an empty string."""
        status, policy = self._status, self._policy
        age = now - (self._started_at if status is None else max(status.beat, self._started_at))
        if status is not None and status.phase == SERVING:
            if age > policy.heartbeat_timeout_s:
                return f"hung: no heartbeat for {age:.1f} s (limit {policy.heartbeat_timeout_s:g} s)"
        elif age > policy.startup_timeout_s:  # loading one engine may take much longer than a heartbeat
            return f"hung while starting: no progress for {age:.0f} s (limit {policy.startup_timeout_s:g} s)"
        return ""

    def _terminate(self, now: float, kill_after: float, why: str) -> None:
        if self._process is None:
            self.state = STOPPED
            return
        self._why_killed = why
        self._kill_at = now + kill_after
        _signal(self._process.pid, signal.SIGTERM)

    def _ended(self, now: float, why: str) -> None:
        self.last_exit = why
        if self._stopping:
            self.state = STOPPED
            return
        policy = self._policy
        if reason := self._in_the_way():
            self.restarts += 1
            self.state, self._next_start, self._held_up = RESTARTING, now + AGAIN_S, reason
            self._log(f"executor ended: {why}; not started again: {reason}")
            return
        self._ends.append(now)
        while self._ends and now - self._ends[0] > policy.restart_window_s:
            self._ends.popleft()
        if len(self._ends) > policy.max_restarts:
            self.state, self._next_start = CRASH_LOOP, None
            self._log(f"executor ended: {why}; {len(self._ends)} times in {policy.restart_window_s:g} s: crash loop")
            return
        wait = min(policy.backoff_max_s, policy.backoff_first_s * 2.0 ** (len(self._ends) - 1))
        self.restarts += 1
        self.state, self._next_start = RESTARTING, now + wait
        self._log(f"executor ended: {why}; restart {self.restarts} in {wait:g} s")

    def _snapshot(self, now: float) -> Snapshot:
        running = self._process is not None
        age = max(0.0, now - self._status.beat) if running and self._status is not None else None
        live = running and self._kill_at is None and not self._fault(now)
        return Snapshot(
            state=self.state,
            pid=self.pid,
            restarts=self.restarts,
            heartbeat_age_s=age,
            run_age_s=now - self._started_at if running else 0.0,
            last_exit=self.last_exit,
            status=self._status if running else _without_life(self._status),
            live=live,
            held_up="" if running else self._held_up,
        )


def _is_up(status: ExecutorStatus) -> bool:
    """It serves, or could and leaves it to another container or to a lifecycle manager."""
    return status.lifecycle == "active" or bool(status.standing_by) or (status.managed and status.phase == SERVING)


def _without_life(status: ExecutorStatus | None) -> ExecutorStatus | None:
    """What a dead process said last, kept for its reasons, with nothing in it that claims to run."""
    if status is None:
        return None
    models = tuple(
        replace(
            model,
            state=model.state if model.state == "failed" else "inactive",
            input_rate_hz=0.0,
            output_rate_hz=0.0,
            by_udp=(),
            held="",
        )
        for model in status.models
    )
    return replace(status, lifecycle="unknown", models=models, standing_by="")


def _signal(pid: int, number: signal.Signals) -> None:
    """Signal our own child, which is not reaped yet, so its pid cannot be another's."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
