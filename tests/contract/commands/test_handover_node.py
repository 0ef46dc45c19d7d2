"""Two executors take turns at one velocity topic: by the token and the lock, whatever is done to either of them, and
never beside a foreign commander that lives."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.contract.node.serving import slot_word
from tests.contract.commands.endings import CONTAINED, ENDINGS, Old
from tests.contract.commands.handover_duo import Duo, drives, sources, took
from tests.contract.robot.robot_process import STOP_S

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install jetfleet[ros], or a ROS installation)")

TAKEN_OVER_S = 3.0
"""From the end of the old one to the first command of the new one: what a robot may stand still for."""
BUSY_S = 20.0
"""How long the same may take while other tests have the processors; long_handover.py, alone, shows that it is 3 s."""
Pair = tuple[Duo, subprocess.Popen[str], subprocess.Popen[str]]


@pytest.fixture
def duo(tmp_path: Path) -> Iterator[Duo]:
    one = Duo(tmp_path)
    yield one
    one.end()


def pair_of(duo: Duo, prefix: tuple[str, ...] = ()) -> Pair:
    """Slot a drives; slot b is configured, tested and silent."""
    duo.token("")
    first = duo.executor("", prefix)
    duo.until("a to drive", drives("a"))
    second = duo.executor("b")
    duo.until_logged("b", "is inactive: the token names another container than b")
    return duo, first, second


@pytest.fixture
def pair(duo: Duo) -> Pair:
    return pair_of(duo)


def test_turns_change_with_the_token_and_there_is_never_a_second_publisher(
    pair: Pair,
) -> None:
    duo, _, _ = pair
    runs, most = duo.until("a look", lambda runs: runs)
    assert (sources(runs), most) == (["a"], 1)
    for slot, before in (("b", "a"), ("", "b"), ("b", "a")):
        duo.token(slot)
        runs, most = duo.until("the other to drive", drives(slot_word(slot)))
        assert sources(runs) in ([before, slot_word(slot)], [slot_word(slot)])
        assert most == 1, "two publishers of one velocity topic"
        if len(runs) == 2:
            assert runs[0]["last"] == [0.0, 0.0], "the one that leaves commands zero last"


@pytest.mark.parametrize("how", ["killed", "in order", "container removed"])
def test_whoever_ends_is_followed_within_three_seconds(duo: Duo, how: str) -> None:
    """What ends with its network is in test_cut_network.py; hung is below; fifty of each in long_handover.py."""
    if how == "container removed" and os.geteuid() != 0:
        pytest.skip("needs root, to make a process namespace")
    duo, first, _ = pair_of(duo, CONTAINED if how == "container removed" else ())
    duo.look()
    ended = ENDINGS[how](Old(first), lambda: duo.token("b"))
    runs, _ = duo.until("b to drive", drives("b"))
    assert 0.0 < took(ended, runs, "b") < BUSY_S


def test_beside_a_living_commander_nobody_commands_however_silent_he_is_and_the_log_names_him(pair: Pair) -> None:
    duo, first, _ = pair
    foreign = duo.commander()
    duo.until_logged("", "is also commanded by /peer: stop it, remap one of the two")
    assert "(/peer: participant 010f" in duo.log("").read_text()
    runs, _ = duo.until("what was on its way", lambda runs: True)
    assert not runs or runs[-1]["last"] == [0.0, 0.0], "the one that yields commands zero last"
    ENDINGS["killed"](Old(first), lambda: duo.token("b"))
    duo.none_from("b", TAKEN_OVER_S + 1.0)
    assert "is also commanded by /peer" in duo.log("b").read_text()
    assert foreign.stdin is not None
    foreign.stdin.close()
    assert foreign.wait(STOP_S) == 0
    runs, _ = duo.until("b to drive", drives("b"))
    assert set(sources(runs)) == {"b"}


def test_one_that_starts_beside_a_living_commander_commands_nothing(duo: Duo) -> None:
    """It looks for others for longer than he, who has Fast DDS's own settings, takes to announce himself."""
    duo.commander()
    duo.token("")
    duo.executor("")
    duo.until_logged("", "is also commanded by /peer: stop it, remap one of the two")
    duo.none_from("", 1.0)


def test_one_that_hangs_keeps_the_other_out_until_it_is_ended(
    pair: Pair,
) -> None:
    duo, first, _ = pair
    ended = ENDINGS["hung"](Old(first), lambda: duo.token("b"))
    runs, _ = duo.until("b to drive", drives("b"))
    assert 0.0 < took(ended, runs, "b") < BUSY_S, "the one that hung holds the lock"


def test_one_that_wakes_from_a_stop_says_nothing_before_it_has_looked_around(pair: Pair) -> None:
    """While it stood still others forgot it, and one of them may have begun to command."""
    duo, first, _ = pair
    os.kill(first.pid, signal.SIGSTOP)
    foreign = duo.commander()
    duo.look()
    time.sleep(2.5)  # as long as its participant is remembered
    duo.look()
    os.kill(first.pid, signal.SIGCONT)
    # The stop may come between a decision and its publish call, which ends when the process goes on.
    duo.none_from("", TAKEN_OVER_S, under_way=1)
    foreign.kill()


def test_one_that_is_told_to_end_while_it_hangs_says_nothing_when_it_wakes(pair: Pair) -> None:
    """Not even zero: it stood still for longer than others remember it."""
    duo, first, _ = pair
    os.kill(first.pid, signal.SIGSTOP)
    first.send_signal(signal.SIGTERM)
    duo.none_from("b", 2.5)
    duo.token("b")
    os.kill(first.pid, signal.SIGCONT)
    assert first.wait(STOP_S) == 0
    ended = time.monotonic()
    runs, _ = duo.until("b to drive", drives("b"))
    assert set(sources(runs)) == {"b"}
    assert took(ended, runs, "b") < BUSY_S


def test_one_that_comes_back_finds_the_other_serving(
    pair: Pair,
) -> None:
    """As after a power cut in the middle of a handover: both start, the token on the disk decides."""
    duo, first, second = pair
    for process in (first, second):
        process.kill()
        process.wait(STOP_S)
    duo.token("b")
    duo.look()
    duo.executor("")
    duo.until_logged("", "is inactive: the token names another container than a")
    assert duo.look()["runs"] == []
    duo.executor("b")
    runs, _ = duo.until("b to drive", drives("b"))
    assert set(sources(runs)) == {"b"}


def test_without_a_token_the_first_serves_and_the_second_waits_for_its_end(duo: Duo) -> None:
    """By hand, without an updater: two containers of one robot are started."""
    first = duo.executor("")
    duo.until("a to drive", drives("a"))
    duo.executor("b")
    duo.until_logged("b", "is inactive: another process serves: it holds the serving lock")
    first.send_signal(signal.SIGTERM)
    assert first.wait(STOP_S) == 0
    runs, most = duo.until("b to drive", drives("b"))
    assert sources(runs) in (["a", "b"], ["b"])
    assert most == 1
