"""The supervisor with real child processes that crash, hang, and will not end."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtime.contract.robot.power import ServingOrders
from runtime.health.process.status import StatusSender, status_pair
from runtime.health.process.supervisor import (
    CRASH_LOOP,
    RESTARTING,
    RUNNING,
    STARTING,
    STOPPED,
    Policy,
    Snapshot,
    Supervisor,
)

ROOT = Path(__file__).parents[3]
FAST = Policy(
    heartbeat_timeout_s=2.0, startup_timeout_s=30.0, max_restarts=3, restart_window_s=60.0,
    backoff_first_s=0.05, backoff_max_s=0.2, kill_after_s=0.4,
)  # fmt: skip

CHILD = """
import os, signal, sys, time
sys.path.insert(0, {root!r})
from runtime.health.process.status import ExecutorStatus, StatusSender, SERVING, STARTING
sender = StatusSender.from_environment()
def beat(phase=SERVING, lifecycle="active", fatal="", at=None):
    now = time.monotonic() if at is None else at
    return sender.send(ExecutorStatus(os.getpid(), phase, lifecycle, now, fatal=fatal))
{body}
"""
BEATING = "while beat(): time.sleep(0.05)"


class Harness:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.supervisors: list[Supervisor] = []

    def __call__(self, body: str, policy: Policy = FAST, in_the_way: Callable[[], str] = lambda: "") -> Supervisor:
        # -S: no site-packages, so that a child starts in milliseconds
        command = [sys.executable, "-S", "-c", CHILD.format(root=str(ROOT), body=body)]
        supervisor = Supervisor(command, policy, log=self.lines.append, in_the_way=in_the_way)
        self.supervisors.append(supervisor)
        return supervisor


def until(supervisor: Supervisor, done: Callable[[Snapshot], object], deadline_s: float = 60.0) -> Snapshot:
    end = time.monotonic() + deadline_s
    while True:
        snapshot = supervisor.step()
        if done(snapshot):
            return snapshot
        assert time.monotonic() < end, f"waited {deadline_s:g} s; now {snapshot}"
        time.sleep(0.01)


@pytest.fixture
def supervise() -> Iterator[Harness]:
    harness = Harness()
    yield harness
    for supervisor in harness.supervisors:
        supervisor.request_stop(0.2)
        until(supervisor, lambda _, s=supervisor: s.stopped)


def test_a_healthy_child_runs(supervise: Harness) -> None:
    supervisor = supervise(BEATING)
    assert supervisor.state == STARTING
    snapshot = until(supervisor, lambda s: s.state == RUNNING)
    assert snapshot.live
    assert snapshot.restarts == 0
    assert snapshot.heartbeat_age_s is not None
    assert snapshot.heartbeat_age_s < FAST.heartbeat_timeout_s
    supervisor.request_stop(30.0)
    ended = until(supervisor, lambda s: supervisor.stopped)
    assert ended.state == STOPPED
    assert "SIGTERM (asked to stop)" in ended.last_exit


def test_orders_reach_the_child_that_runs_now(supervise: Harness) -> None:
    nobody = Supervisor(["/nonexistent"], FAST, log=lambda line: None)
    nobody.tell(ServingOrders())
    obeying = (
        "beat()\nwhile True:\n beat(); orders = sender.orders()\n"
        " if orders is not None: beat(fatal=f'{orders.rates}{orders.refused}'); time.sleep(600)\n time.sleep(0.05)"
    )
    supervisor = supervise(obeying)
    until(supervisor, lambda s: s.state == RUNNING)
    supervisor.tell(ServingOrders({"signs": 1.0}))
    supervisor.tell(ServingOrders({"signs": 0.5}, {"other": "hot"}))
    told = until(supervisor, lambda s: s.status is not None and s.status.fatal)
    assert told.status is not None
    assert told.status.fatal in ("{'signs': 1.0}{}", "{'signs': 0.5}{'other': 'hot'}")


def test_orders_are_the_newest_ones_and_never_block_nor_break_anybody() -> None:
    receiver, theirs = status_pair()
    sender = StatusSender(theirs)
    assert sender.orders() is None
    for rate in (1.0, 0.5, 0.25):
        receiver.tell(ServingOrders({"signs": rate}))
    assert sender.orders() == ServingOrders({"signs": 0.25})
    for _ in range(100_000):  # an executor that does not read, as older ones
        receiver.tell(ServingOrders({"signs": 0.5}))
    assert sender.orders() == ServingOrders({"signs": 0.5})
    while sender.orders() is not None:
        pass
    receiver._socket.send(b"nonsense")
    assert sender.orders() is None
    assert sender.garbled == 1
    theirs.close()
    receiver.tell(ServingOrders())
    receiver.close()


def test_a_child_that_ends_once_is_restarted(supervise: Harness, tmp_path: Path) -> None:
    flag = tmp_path / "been"
    supervisor = supervise(
        f"import pathlib; p = pathlib.Path({str(flag)!r})\nif not p.exists(): p.touch(); beat(); sys.exit(7)\n{BEATING}"
    )
    seen = until(supervisor, lambda s: s.state == RESTARTING)
    assert not seen.live
    assert seen.last_exit == "exit code 7"
    again = until(supervisor, lambda s: s.state == RUNNING and s.restarts == 1)
    assert again.live


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (signal.SIGSEGV, "signal SIGSEGV"),
        (signal.SIGBUS, "signal SIGBUS, a mapped file had no memory: is /dev/shm full?"),
        (signal.SIGRTMIN + 1, f"signal {signal.SIGRTMIN + 1}"),
    ],
)
def test_the_signal_that_ended_a_child_is_told(supervise: Harness, number: int, told: str) -> None:
    supervisor = supervise(f"beat(); os.kill(os.getpid(), {int(number)})")
    assert until(supervisor, lambda s: s.last_exit).last_exit == told


def test_a_crash_loop_is_called_one_and_ended_with_its_reason(supervise: Harness) -> None:
    supervisor = supervise("beat(phase=STARTING, fatal='no rclpy here'); sys.exit(2)")
    snapshot = until(supervisor, lambda s: s.state == CRASH_LOOP)
    assert snapshot.restarts == FAST.max_restarts
    assert snapshot.last_exit == "exit code 2 (no rclpy here)"
    assert snapshot.pid is None
    for _ in range(20):
        assert supervisor.step().state == CRASH_LOOP
        time.sleep(0.01)
    assert supervise.lines[-1].endswith("4 times in 60 s: crash loop")


def test_restarts_outside_the_window_are_forgiven(supervise: Harness) -> None:
    policy = Policy(**{**FAST.__dict__, "restart_window_s": 0.01, "backoff_first_s": 0.02, "backoff_max_s": 0.02})
    supervisor = supervise("sys.exit(1)", policy)
    assert until(supervisor, lambda s: s.restarts >= FAST.max_restarts + 2).state != CRASH_LOOP


def test_a_child_that_stops_beating_is_ended_and_restarted(supervise: Harness, tmp_path: Path) -> None:
    flag = tmp_path / "been"
    once = f"import pathlib; p = pathlib.Path({str(flag)!r})\nif not p.exists(): p.touch(); beat(); time.sleep(60)"
    supervisor = supervise(f"{once}\n{BEATING}")
    until(supervisor, lambda s: not s.live and s.pid is not None)
    snapshot = until(supervisor, lambda s: s.state == RUNNING and s.restarts == 1)
    assert "SIGTERM (hung: no heartbeat for 2." in snapshot.last_exit


def test_a_status_thread_that_goes_on_does_not_hide_a_stuck_worker(supervise: Harness) -> None:
    supervisor = supervise("then = time.monotonic()\nwhile beat(at=then): time.sleep(0.05)")
    snapshot = until(supervisor, lambda s: s.restarts == 1)
    assert "no heartbeat" in snapshot.last_exit


def test_a_hung_child_that_ignores_sigterm_is_killed(supervise: Harness) -> None:
    supervisor = supervise("signal.signal(signal.SIGTERM, signal.SIG_IGN); beat(); time.sleep(60)")
    snapshot = until(supervisor, lambda s: s.restarts == 1)
    assert snapshot.last_exit.startswith("signal SIGKILL (hung")


def test_loading_may_take_longer_than_a_heartbeat(supervise: Harness) -> None:
    body = f"beat(phase=STARTING, lifecycle='unconfigured'); time.sleep(2.8)\n{BEATING}"
    supervisor = supervise(body)
    assert until(supervisor, lambda s: s.state == RUNNING).restarts == 0


def test_but_not_longer_than_the_startup_timeout(supervise: Harness) -> None:
    policy = Policy(**{**FAST.__dict__, "startup_timeout_s": 0.5})
    supervisor = supervise("beat(phase=STARTING); time.sleep(60)", policy)
    assert "hung while starting" in until(supervisor, lambda s: s.restarts == 1).last_exit


def test_what_a_dead_process_said_last_claims_nothing(supervise: Harness) -> None:
    supervisor = supervise("beat(); time.sleep(0.1); os.kill(os.getpid(), 9)")
    dead = until(supervisor, lambda s: s.state == RESTARTING and s.status is not None)
    assert dead.status is not None
    assert dead.status.lifecycle == "unknown"
    assert dead.last_exit == "signal SIGKILL"


def test_a_command_that_does_not_exist_is_a_crash_loop_with_a_reason() -> None:
    supervisor = Supervisor(["/no/such/python"], FAST, log=lambda _: None)
    snapshot = until(supervisor, lambda s: s.state == CRASH_LOOP)
    assert snapshot.last_exit == "cannot start /no/such/python: No such file or directory"


def test_a_stop_that_is_ignored_ends_in_a_kill(supervise: Harness) -> None:
    supervisor = supervise(f"signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{BEATING}")
    until(supervisor, lambda s: s.state == RUNNING)
    supervisor.request_stop(0.3)
    ended = until(supervisor, lambda _: supervisor.stopped)
    assert ended.last_exit == "signal SIGKILL (asked to stop)"


def test_garbage_on_the_channel_is_not_a_heartbeat(supervise: Harness) -> None:
    policy = Policy(**{**FAST.__dict__, "startup_timeout_s": 0.5})
    supervisor = supervise("import socket\nwhile sender._socket.send(b'{not json'): time.sleep(0.05)", policy)
    snapshot = until(supervisor, lambda s: s.restarts == 1)
    assert "hung while starting" in snapshot.last_exit


def test_a_start_that_something_is_in_the_way_of_waits_says_so_once_and_then_begins(supervise: Harness) -> None:
    reasons = ["/dev/shm is full"]
    supervisor = supervise(BEATING, in_the_way=lambda: reasons[0])
    held = [until(supervisor, lambda s: s.held_up) for _ in range(3)]
    assert {(s.state, s.pid, s.live, s.held_up) for s in held} == {(STARTING, None, False, "/dev/shm is full")}
    reasons[0] = ""
    runs = until(supervisor, lambda s: s.state == RUNNING)
    assert (runs.held_up, runs.restarts) == ("", 0)
    assert supervise.lines == ["executor not started: /dev/shm is full"]


def test_ends_while_something_is_in_the_way_are_not_held_against_the_child(supervise: Harness, tmp_path: Path) -> None:
    full, ends = tmp_path / "full", FAST.max_restarts + 2
    body = f"open({str(full)!r}, 'w').close(); os.kill(os.getpid(), signal.SIGBUS)"
    supervisor = supervise(body, in_the_way=lambda: "/dev/shm is full" if full.exists() else "")
    for count in range(1, ends + 1):
        down = until(supervisor, lambda s, count=count: s.restarts == count)
        assert (down.state, down.held_up) == (RESTARTING, "/dev/shm is full")
        assert down.last_exit.startswith("signal SIGBUS, a mapped file had no memory")
        full.unlink()
    assert not any("crash loop" in line for line in supervise.lines)


def test_a_stop_while_a_start_waits_is_a_stop(supervise: Harness) -> None:
    supervisor = supervise(BEATING, in_the_way=lambda: "/dev/shm is full")
    until(supervisor, lambda s: s.held_up)
    supervisor.request_stop(1.0)
    assert supervisor.step().state == STOPPED
    assert supervisor.stopped
