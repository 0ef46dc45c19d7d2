"""Not now: windows and the update lock before the switch, and what deferring leaves behind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from runtime.contract.node.resources import ENV_INHIBIT
from runtime.contract.robot.switching import SwitchRules, Window
from runtime.contract.robot.update import UpdateOrder
from runtime.updater.state.lock_answer import FREE, HELD, SILENT, LockAnswer
from runtime.updater.state.records import Request
from runtime.updater.state.windows import is_open, next_opening
from runtime.updater.state.world import WorldError
from runtime.updater.transaction.update_state import history_lines, state_lines
from tests.fakes.robots.robot_world import START, Behaviour, order, reference
from tests.unit.updater.robot import Crash, Robot

RULES = {"ROS_DOMAIN_ID": "7", ENV_INHIBIT: '{"rules":[]}'}
DRIVES = LockAnswer(HELD, ("the robot drives",))
SILENCE = LockAnswer(SILENT, ("nothing holds the lock: the node has not started",))
SHORT = SwitchRules(wait_s=20.0)


def guarded(letter: str, **changes: Any) -> UpdateOrder:
    return order(letter, environment=RULES, **{"switch": SHORT, **changes})


@pytest.fixture
def on_one(robot: Robot) -> Robot:
    """On release 1, whose node has rules that can hold the lock."""
    assert robot.run(guarded("1", order_id="to-1")).outcome == "committed"
    return robot


def closed_for(seconds: float) -> Window:
    """A window that opens, by the fake world's clock, within the minute after ``seconds`` from its start."""
    window = next(
        Window(minute, minute + 1)
        for minute in range(24 * 60)
        if is_open((Window(minute, minute + 1),), START + seconds)
    )
    assert not is_open((window,), START)
    return window


def test_an_order_waits_until_the_robot_stands(on_one: Robot) -> None:
    on_one.world.lock = DRIVES
    on_one.updater.submit(guarded("2"))
    waits = on_one.drive(until=lambda state: "update lock" in state.progress)
    assert (waits.state, waits.progress) == ("waiting", "waiting for the update lock: the robot drives")
    assert on_one.world.runs is not None
    assert on_one.world.runs.image == reference("1")
    on_one.world.lock = LockAnswer(FREE)
    assert on_one.drive().outcome == "committed"
    assert not on_one.world.lock_held


@pytest.mark.parametrize("answer", [DRIVES, SILENCE], ids=["held", "silent"])
def test_a_lock_that_stays_defers_and_changes_nothing(on_one: Robot, answer: LockAnswer) -> None:
    on_one.world.lock = answer
    before = on_one.world.runs
    state = on_one.run(guarded("2"))
    assert state.outcome == "deferred"
    assert answer.reasons[0] in state.reason
    assert "20 s" in state.reason
    assert "--override" in state.hint
    assert state.deferred_until is None
    assert on_one.world.runs is before
    on_one.assert_whole()


def test_what_was_fetched_for_a_deferred_order_is_there_for_the_next(on_one: Robot) -> None:
    on_one.world.lock = DRIVES
    assert on_one.run(guarded("2", order_id="first")).outcome == "deferred"
    assert reference("2") in on_one.world.images
    on_one.world.lock = LockAnswer(FREE)
    state = on_one.run(guarded("2", order_id="second"))
    assert (state.outcome, state.fetched_bytes) == ("committed", 0)
    on_one.assert_whole()


def test_what_was_deferred_goes_when_another_order_ends(on_one: Robot) -> None:
    on_one.world.lock = DRIVES
    assert on_one.run(guarded("2")).outcome == "deferred"
    on_one.world.lock = LockAnswer(FREE)
    assert on_one.run(guarded("3")).outcome == "committed"
    assert reference("2") not in on_one.world.images
    on_one.assert_whole()


def test_a_node_without_rules_is_not_asked(robot: Robot) -> None:
    robot.on("1")
    robot.world.lock = DRIVES
    assert robot.run(order("2")).outcome == "committed"


def test_rules_that_cannot_be_read_count_as_rules(on_one: Robot) -> None:
    on_one.world.lock = DRIVES
    current = on_one.journal.current
    assert current is not None
    (on_one.root / "releases" / current.folder / "release.json").write_text("{")
    assert on_one.run(guarded("2")).outcome == "deferred"


def test_override_goes_past_lock_and_window_and_is_in_the_history(on_one: Robot) -> None:
    on_one.world.lock = DRIVES
    rules = replace(SHORT, switch=(closed_for(7200.0),))
    state = on_one.run(guarded("2", switch=rules, override="fire drill"))
    assert state.outcome == "committed"
    last = on_one.history(1)[-1]
    assert last.override == "fire drill"
    assert "overridden: fire drill" in history_lines([last])[0]


@pytest.mark.parametrize("which", ["switch", "download"])
def test_a_window_that_opens_too_late_defers_at_once_and_says_when(on_one: Robot, which: str) -> None:
    window = closed_for(7200.0)
    pulled = len(on_one.world.pulls)
    state = on_one.run(guarded("2", switch=replace(SHORT, **{which: (window,)})))
    assert state.outcome == "deferred"
    assert state.deferred_until == next_opening((window,), START)
    assert f"outside of the {which} window, which opens" in state.reason
    assert any(line.startswith("until ") for line in state_lines(state))
    assert (len(on_one.world.pulls) == pulled) is (which == "download")
    on_one.assert_whole()


@pytest.mark.parametrize("which", ["switch", "download"])
def test_a_window_that_opens_in_time_is_waited_for(on_one: Robot, which: str) -> None:
    rules = SwitchRules(wait_s=600.0, **{which: (closed_for(300.0),)})
    on_one.updater.submit(guarded("2", switch=rules))
    waits = on_one.drive(until=lambda state: f"{which} window" in state.progress)
    assert waits.state == {"switch": "waiting", "download": "fetching"}[which]
    assert on_one.drive().outcome == "committed"


def test_a_way_back_that_is_asked_for_needs_no_window_but_the_lock(on_one: Robot) -> None:
    rules = replace(SHORT, switch=(closed_for(7200.0),))
    assert on_one.run(guarded("2", switch=rules, override="x")).outcome == "committed"
    on_one.world.lock = DRIVES
    on_one.updater.revert("on foot")
    assert on_one.drive().outcome == "deferred"
    on_one.updater.revert("on foot", override="the operator stands beside it")
    state = on_one.drive()
    assert state.outcome == "reverted"
    assert state.current is not None
    assert state.current.image == reference("1")


def test_abort_while_waiting_changes_nothing(on_one: Robot) -> None:
    on_one.world.lock = DRIVES
    on_one.updater.submit(guarded("2"))
    on_one.drive(until=lambda state: state.state == "waiting")
    on_one.updater.leave(Request("abort", "order-2", "changed my mind"))
    assert on_one.drive().outcome == "refused"
    on_one.assert_whole()


def test_a_switch_that_was_cut_asks_for_the_lock_again(on_one: Robot) -> None:
    """The lock dies with the process; the old release may be driving when the next one starts."""
    on_one.updater.submit(guarded("2"))
    on_one.drive(until=lambda state: state.state == "switching")
    on_one.world.lock, on_one.world.lock_held = DRIVES, False
    on_one.boot()
    on_one.drive(limit=15, until=lambda state: "update lock is held again" in state.progress)
    assert on_one.world.runs is not None
    assert on_one.world.runs.image == reference("1")
    state = on_one.drive()
    assert state.outcome == "reverted"
    assert "update lock is held again" in state.reason
    assert on_one.world.runs.image == reference("1")
    on_one.assert_whole()


def test_a_switch_that_had_begun_is_finished_without_the_lock(on_one: Robot, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old container is gone: nothing drives any more, and nobody is left to answer."""
    on_one.updater.submit(guarded("2"))
    on_one.drive(until=lambda state: state.state == "switching")

    def dies(where: str) -> None:
        if where == "after compose_up":
            monkeypatch.undo()
            raise Crash(where)

    monkeypatch.setattr(on_one, "tick", dies)
    with pytest.raises(Crash):
        on_one.drive()
    on_one.world.lock, on_one.world.lock_held = SILENCE, False
    on_one.boot()
    assert on_one.drive().outcome == "committed"


def test_a_way_back_waits_for_a_node_that_drives_and_not_for_ever(on_one: Robot) -> None:
    on_one.world.behaviour[reference("2")] = Behaviour(cosine=0.1)
    on_one.updater.submit(guarded("2"))
    on_one.drive(until=lambda state: state.state == "probation")
    on_one.world.lock = DRIVES
    on_one.drive(until=lambda state: state.state == "reverting" and "update lock" in state.progress)
    assert on_one.world.runs is not None
    assert on_one.world.runs.image == reference("2")
    state = on_one.drive()
    assert state.outcome == "reverted"
    assert on_one.world.runs.image == reference("1")


def test_a_way_back_does_not_wait_for_a_node_that_is_silent(on_one: Robot) -> None:
    on_one.world.behaviour[reference("2")] = Behaviour(exits=True)
    on_one.updater.submit(guarded("2"))
    on_one.drive(until=lambda state: state.state == "probation")
    on_one.world.lock = SILENCE
    assert on_one.drive().outcome == "reverted"
    assert not [note for note in on_one.world.notes if note.startswith("reverting: waiting for the update lock")]


def test_a_lock_that_cannot_be_asked_is_tried_again_then_refused(on_one: Robot) -> None:
    trouble = WorldError("the update lock cannot be asked: Input/output error", transient=True)
    on_one.world.fail("take_update_lock", *[trouble] * 20)
    state = on_one.run(guarded("2"))
    assert state.outcome == "refused"
    assert "Input/output error" in state.reason
    on_one.world.faults.clear()
    on_one.assert_whole()


def test_a_robot_of_its_own_verdict_commits_without_confirmation(robot: Robot) -> None:
    robot.confirms = False
    alone = replace(order("1").probation, autonomy=True)
    assert robot.run(order("1", probation=alone)).outcome == "committed"
    robot.world.behaviour[reference("2")] = Behaviour(cosine=0.1)
    assert robot.run(order("2", probation=alone)).outcome == "reverted"
