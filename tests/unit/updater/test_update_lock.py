"""The update lock from both sides: the node's hold, flock between processes, and what the host makes of silence."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.contract.node.resources import LOCK_STALE_S
from runtime.executor.robot.update_lock import UpdateLock, boot_seconds
from runtime.updater.robot.update_lock import take
from runtime.updater.state.lock_answer import FREE, HELD, SILENT

ROOT = Path(__file__).parents[3]
HOLDER = """
import sys
from pathlib import Path
from runtime.executor.robot.update_lock import UpdateLock
lock = UpdateLock(Path(sys.argv[1]))
lock.update(tuple(sys.argv[2:]))
print("held" if lock.held else "free", flush=True)
sys.stdin.read()
"""


def test_without_rules_nobody_is_asked(tmp_path: Path) -> None:
    assert take(False, tmp_path / "none")[0].state == FREE


def test_while_a_rule_holds_the_host_may_not_and_afterwards_it_may(tmp_path: Path) -> None:
    path = tmp_path / "update.lock"
    lock = UpdateLock(path)
    lock.update(("the robot drives", "a mission is on"))
    answer, held = take(True, path)
    assert (answer.state, answer.reasons, held) == (HELD, ("the robot drives", "a mission is on"), None)
    lock.update(())
    answer, held = take(True, path)
    assert (answer.state, answer.reasons) == (FREE, ())
    assert held is not None
    lock.update(("it drives again",))  # too late: the switch has begun, and the node says so
    assert (lock.held, lock.problem) == (False, "an update holds the update lock: the robot is being changed")
    held.release()
    held.release()
    lock.update(("it drives again",))
    assert (lock.held, lock.problem) == (True, "")
    lock.close()


def test_the_lock_dies_with_its_process_and_silence_still_means_no(tmp_path: Path) -> None:
    path = tmp_path / "update.lock"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), "the robot drives"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        assert take(True, path)[0].reasons == ("the robot drives",)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    answer, held = take(True, path)  # nobody holds it, and its last word was a reason
    assert (answer.state, answer.reasons, held) == (HELD, ("the robot drives",), None)
    answer, held = take(True, path, now=boot_seconds() + LOCK_STALE_S + 5)
    assert (answer.state, held) == (SILENT, None)
    assert "ago whether it may be updated (limit 10 s)" in answer.reasons[0]


def test_a_heartbeat_that_stopped_counts_as_locked(tmp_path: Path) -> None:
    path, now = tmp_path / "update.lock", 1000.0
    lock = UpdateLock(path, clock=lambda: now)
    lock.update(())
    answer, held = take(True, path, now=now + LOCK_STALE_S)
    assert answer.state == FREE
    assert held is not None
    held.release()
    assert take(True, path, now=now + LOCK_STALE_S + 1)[0].state == SILENT
    assert take(True, path, now=now - LOCK_STALE_S - 1)[0].state == SILENT
    lock.close()


def test_a_missing_or_garbled_file_counts_as_locked(tmp_path: Path) -> None:
    path = tmp_path / "update.lock"
    assert take(True, path)[0].state == SILENT
    path.write_text("{")
    answer, held = take(True, path)
    assert (answer.state, held) == (SILENT, None)
    assert "cannot be read" in answer.reasons[0]


def test_a_file_that_was_removed_is_made_and_held_again(tmp_path: Path) -> None:
    path = tmp_path / "update.lock"
    lock = UpdateLock(path)
    lock.update(("drives",))
    path.unlink()
    lock.update(("drives",))
    assert take(True, path)[0].state == HELD
    lock.close()


def test_a_folder_that_is_not_there_is_a_problem_with_its_reason(tmp_path: Path) -> None:
    lock = UpdateLock(tmp_path / "none" / "update.lock")
    lock.update(("drives",))
    assert "cannot be held (No such file or directory)" in lock.problem


@pytest.mark.parametrize("reasons", [("x" * 900, "y" * 900), ()])
def test_a_shorter_state_leaves_nothing_of_a_longer_one(tmp_path: Path, reasons: tuple[str, ...]) -> None:
    path = tmp_path / "update.lock"
    lock = UpdateLock(path)
    lock.update(("a" * 9000,))
    lock.update(reasons)
    answer, held = take(True, path)
    assert answer.reasons == reasons
    if held is not None:
        held.release()
    lock.close()
