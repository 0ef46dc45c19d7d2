"""A robot that pulls: what it does by the statement that it follows, when it commits, and when it goes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime.contract.codec import canonical_json, to_dict
from runtime.contract.node.resources import ENV_INHIBIT
from runtime.contract.robot.desired import ABORTED, ENDED, PAUSED, REVERTING, RUNNING, Desired
from runtime.contract.robot.pull_settings import PULL_FILE, PullSettings
from runtime.contract.robot.pull_state import PullState
from runtime.contract.robot.release import Probation
from runtime.contract.robot.switching import SwitchRules
from runtime.contract.robot.trust import TrustSettings
from runtime.contract.robot.update import UpdateOrder, UpdateState
from runtime.updater.daemon.puller import Puller
from runtime.updater.state.lock_answer import HELD, LockAnswer
from runtime.updater.state.records import Mark, SeenDesired
from runtime.updater.state.world import WorldError
from runtime.updater.transaction.preflight import Refused
from runtime.updater.transaction.pulling import take_desired
from runtime.updater.transaction.update_state import state_lines
from tests.fakes.robots.robot_world import START, order
from tests.unit.updater.robot import Robot

DAY = 86400.0
RULES = Probation(soak_s=5.0, ready_timeout_s=20.0, confirm_timeout_s=15.0)


class Pulling:
    """A robot of an unsigned fleet, its puller, and what the registry would say."""

    def __init__(self, root: Path) -> None:
        self.robot = Robot(root, confirms=False)
        self.robot.world.settings = TrustSettings("warehouse", unsigned=True)
        self.robot.on_confirm = None  # type: ignore[attr-defined]
        self.generation, self.reachable = 0, True
        self.answer: dict[str, Any] = {"nothing": True}
        self.asked: list[str] = []
        self.said: list[str] = []
        self.puller = self.started()
        (root / PULL_FILE).write_bytes(
            canonical_json(PullSettings("warehouse", "amr-001", "http://registry.test", "warehouse"))
        )

    def started(self) -> Puller:
        puller = Puller(
            self.robot.root, self.robot.updater, self.ask, self.said.append, clock=lambda: self.robot.world.time
        )
        self.robot.updater.pull_state = puller.state
        return puller

    def ask(self, words: list[str], _given: bytes | None) -> dict[str, Any]:
        self.asked.append(" ".join(words[:3]))
        if words[0] == "reach":
            return {"reached": "registry"} if self.reachable else {"failed": "registry.test: no route to host"}
        known = words[words.index("--known") + 1]
        if known and self.answer.get("seen", {}).get("digest") == known:
            return {"same": True}
        return self.answer

    def says(
        self, letter: str, *, rollout: str = "r-1", stage: int = 2, standing: str = RUNNING, **changes: Any
    ) -> SeenDesired:
        """Have the registry say this from now on; return it."""
        self.generation += 1
        now = self.robot.world.time
        words = Desired("warehouse", self.generation, rollout, "sha256:p", stage, standing, now, now + DAY, "the lift")
        told = order(
            letter, order_id=f"1.{int(letter, 16)}.0-{rollout}", probation=RULES, switch=SwitchRules(wait_s=3.0)
        )
        seen = SeenDesired(
            words,
            f"sha256:{self.generation}",
            2,
            3,
            told.version,
            told.release_digest,
            now + 30 * DAY,
            Mark(now, 1.0, "b"),
        )
        seen = replace(seen, **changes)
        self.answer = {"seen": to_dict(seen)}
        if stage >= 2 and standing in (RUNNING, ENDED):
            self.answer["order"] = to_dict(replace(told, issued_at=now))
        return seen

    def poll(self) -> PullState:
        self.puller._asked = True
        self.puller.round()
        found = self.puller.state()
        assert found is not None
        return found

    def drive(self, until: Callable[[UpdateState], bool] = lambda _state: False) -> UpdateState:
        """Run updater and puller until the order has ended."""
        for _ in range(400):
            state = self.robot.updater.status()
            if not self.robot.updater.busy or until(state):
                return state
            if self.robot.updater.awaits_reach:
                self._reach()
            if not self.robot.updater.step():
                self.robot.world.sleep(1.0)
        raise AssertionError("never ended")

    def _reach(self) -> None:
        """`confirm` waits for the driver, which is this thread: leave its request, as it does."""
        updater = self.robot.updater
        confirm, updater.confirm = updater.confirm, self._leave  # type: ignore[method-assign]
        try:
            self.puller.round()
        finally:
            updater.confirm = confirm  # type: ignore[method-assign]

    def _leave(self, order_id: str) -> UpdateState:
        from runtime.updater.state.records import CONFIRM, Request

        self.robot.updater.leave(Request(CONFIRM, order_id))
        return self.robot.updater.status()

    def comes(self, letter: str, **changes: Any) -> UpdateState:
        self.says(letter, **changes)
        self.poll()
        return self.drive()


@pytest.fixture
def pulls(tmp_path: Path) -> Pulling:
    return Pulling(tmp_path)


def test_it_comes_for_its_release_and_commits_once_it_has_reached_out(pulls: Pulling) -> None:
    assert pulls.poll().held == "there is no desired statement in the registry yet"
    state = pulls.comes("1")
    assert (state.outcome, state.order_id) == ("committed", "1.1.0-r-1")
    assert "reach" in pulls.asked
    assert pulls.poll().held == ""
    assert pulls.robot.journal.desired is not None
    assert pulls.robot.journal.desired.order_id == "1.1.0-r-1"


def test_a_release_that_cuts_the_robot_off_goes_back(pulls: Pulling) -> None:
    pulls.comes("1")
    pulls.reachable = False
    state = pulls.comes("2", rollout="r-2")
    assert state.outcome == "reverted"
    assert "reached neither the registry nor the hub over a new connection within 15 s" in state.reason
    assert state.current is not None
    assert state.current.version == "1.1.0"
    pulls.reachable = True
    held = pulls.poll().held
    assert held.startswith("its order 1.2.0-r-2 ended: reverted: reached neither")
    assert not pulls.robot.updater.busy, "one order a rollout"


def test_autonomy_does_not_spare_it_the_way_out(pulls: Pulling) -> None:
    pulls.comes("1")
    pulls.reachable = False
    pulls.says("2", rollout="r-2")
    told = replace(order("2", order_id="1.2.0-r-2"), probation=replace(RULES, autonomy=True))
    pulls.answer["order"] = to_dict(told)
    pulls.poll()
    assert pulls.drive().outcome == "reverted"


@pytest.mark.parametrize(
    ("changes", "held"),
    [
        ({"stage": 1}, "waits for its stage: it is in stage 2 of 3, the rollout has reached 1"),
        ({"stage": 0}, "waits for its stage: it is in stage 2 of 3, the rollout has reached none"),
        ({"standing": PAUSED}, "the rollout is paused: the lift"),
        ({"standing": ABORTED}, "the rollout was aborted: the lift"),
        ({"standing": REVERTING}, ""),
        ({"plan_expires_at": START}, "stale: the plan of rollout r-1 expired at"),
    ],
)
def test_what_holds_it_is_said_and_nothing_begins(pulls: Pulling, changes: dict[str, Any], held: str) -> None:
    pulls.robot.world.time += 5.0
    pulls.says("1", **changes)
    assert pulls.poll().held.startswith(held)
    assert not pulls.robot.updater.busy


def test_a_statement_that_ran_out_holds_and_is_said(pulls: Pulling) -> None:
    pulls.says("1", stage=1)
    pulls.poll()
    pulls.robot.world.time += 2 * DAY
    state = pulls.poll()
    assert state.held.startswith("waits for its stage")
    pulls.comes("1", rollout="r-2")
    pulls.robot.world.time += 2 * DAY
    held = pulls.poll().held
    assert held.startswith("stale: the last desired statement (rollout r-2, generation 2) expired at 2027-01-1")
    assert any(line.startswith("held      stale: ") for line in state_lines(pulls.robot.updater.status()))


def test_a_robot_that_was_off_goes_straight_to_the_newest(pulls: Pulling) -> None:
    pulls.comes("1")
    for number in ("2", "3"):
        pulls.says(number, rollout=f"r-{number}")
    state = pulls.comes("4", rollout="r-4", standing=ENDED)
    assert (state.outcome, state.current and state.current.version) == ("committed", "1.4.0")
    assert [entry.version for entry in pulls.robot.history(9)] == ["1.1.0", "1.4.0"]


def test_a_rollout_that_is_taken_back_takes_back_who_committed_by_it(pulls: Pulling) -> None:
    pulls.comes("1")
    pulls.comes("2", rollout="r-2")
    pulls.says("2", rollout="r-2", standing=REVERTING)
    pulls.poll()
    state = pulls.drive()
    assert (state.outcome, state.current and state.current.version) == ("reverted", "1.1.0")
    assert pulls.poll().held == ""
    assert not pulls.robot.updater.busy, "once"


def test_who_had_the_release_before_keeps_it_when_a_rollout_is_taken_back(pulls: Pulling) -> None:
    pulls.comes("1")
    pulls.comes("2", rollout="r-2")
    pulls.says("2", rollout="r-3", standing=REVERTING)
    assert "had this release before the rollout" in pulls.poll().held
    assert not pulls.robot.updater.busy


def test_what_is_under_way_is_taken_back_too(pulls: Pulling) -> None:
    pulls.comes("1")
    pulls.says("2", rollout="r-2")
    pulls.poll()
    pulls.drive(until=lambda state: state.state == "probation")
    pulls.says("2", rollout="r-2", standing=REVERTING)
    asked: list[tuple[str, str]] = []
    pulls.robot.updater.revert = lambda reason, order_id, override: asked.append((reason, order_id))  # type: ignore
    pulls.poll()
    assert asked == [("the rollout is taken back: the lift", "1.2.0-r-2")]


@pytest.mark.parametrize("standing", [ABORTED, RUNNING])
def test_what_has_not_switched_yet_is_ended_by_an_abort_and_by_the_next_rollout(pulls: Pulling, standing: str) -> None:
    pulls.comes("1")
    pulls.says("2", rollout="r-2")
    pulls.poll()
    asked: list[str] = []
    pulls.robot.updater.abort = lambda order_id, reason: asked.append(f"{order_id}: {reason}")  # type: ignore
    pulls.says("2", rollout="r-2" if standing == ABORTED else "r-3", standing=standing)
    pulls.poll()
    why = "the rollout was aborted: the lift" if standing == ABORTED else "another rollout took the place of this one"
    assert set(asked) == {f"1.2.0-r-2: {why}"}


def test_after_the_switch_an_abort_leaves_it_to_its_own_verdict(pulls: Pulling) -> None:
    pulls.comes("1")
    pulls.says("2", rollout="r-2")
    pulls.poll()
    pulls.drive(until=lambda state: state.state == "probation")
    pulls.says("2", rollout="r-2", standing=ABORTED)
    pulls.poll()
    assert pulls.drive().outcome == "committed"


def test_a_deferred_order_is_tried_again_and_no_other_outcome_is(pulls: Pulling) -> None:
    pulls.says("1")
    told = order("1", order_id="1.1.0-r-1", probation=RULES, environment={ENV_INHIBIT: "[]"})
    pulls.answer["order"] = to_dict(told)
    pulls.poll()
    assert pulls.drive().outcome == "committed"
    pulls.robot.world.lock = LockAnswer(HELD, ("it carries a pallet",))
    assert pulls.comes("2", rollout="r-2").outcome == "deferred"
    assert pulls.poll().held.startswith("not now: the update lock is held")
    pulls.robot.world.lock = LockAnswer("free")
    pulls.robot.world.time += 61.0
    pulls.puller.round()
    assert pulls.drive().outcome == "committed"


def test_a_person_who_goes_back_at_the_robot_is_not_overruled_by_the_same_rollout(pulls: Pulling) -> None:
    pulls.comes("1")
    pulls.comes("2", rollout="r-2")
    pulls.robot.updater.revert("it squeaks")
    assert pulls.drive().outcome == "reverted"
    assert "1.2.0 was taken off this robot by hand" in pulls.poll().held
    assert not pulls.robot.updater.busy
    assert pulls.comes("3", rollout="r-3").outcome == "committed"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"generation": 1}, "generation 1, and 2 was seen before: an old one was put back"),
        ({"stage": 3}, "two desired statements of generation 2 say different things"),
        ({"standing": ABORTED}, "two desired statements of generation 2 say different things"),
        ({"issued_at": START - 9.0}, "and one of 2027-01-15T08:00:00Z was seen before"),
    ],
)
def test_nothing_older_and_nothing_ambiguous_is_taken(pulls: Pulling, change: dict[str, Any], says: str) -> None:
    pulls.says("1", stage=0)
    seen = pulls.says("1", stage=1)
    pulls.poll()
    before = pulls.robot.journal
    with pytest.raises(Refused, match=says):
        take_desired(before, replace(seen, statement=replace(seen.statement, **change)))


def test_a_clock_that_was_never_set_holds(pulls: Pulling) -> None:
    pulls.says("1")
    pulls.poll()
    pulls.drive()
    pulls.robot.world.time = 1000.0
    held = pulls.poll().held
    assert "clock was never set" in held
    assert "timedatectl" in held


def test_a_statement_that_vanishes_is_a_problem_and_what_was_seen_goes_on_counting(pulls: Pulling) -> None:
    pulls.says("1", stage=1)
    pulls.poll()
    pulls.answer = {"nothing": True}
    state = pulls.poll()
    assert state.problem == "the registry has no desired statement any more"
    assert state.held.startswith("waits for its stage")


def test_errors_make_it_slower_never_silent_and_a_request_looks_at_once(pulls: Pulling) -> None:
    pulls.answer = {"failed": "registry.test: connection refused", "hint": "check the link"}
    pauses = []
    for _ in range(9):
        state = pulls.poll()
        assert state.problem == "registry.test: connection refused -> check the link"
        pauses.append(state.next_poll_at - pulls.robot.world.time)
    assert pauses[0] < 130.0
    assert max(pauses) <= 900.0
    assert pauses[-1] > 600.0
    pulls.says("1", stage=1)
    assert pulls.poll().problem == ""


def test_a_registry_that_asks_for_patience_gets_it(pulls: Pulling) -> None:
    pulls.answer = {"failed": "the registry answers 429", "hint": "", "after_s": 300.0}
    assert pulls.poll().next_poll_at - pulls.robot.world.time == 300.0


def test_robots_do_not_look_at_one_time(tmp_path: Path) -> None:
    starts = set()
    for number in range(5):
        (tmp_path / str(number)).mkdir()
        pulls = Pulling(tmp_path / str(number))
        settings = PullSettings("warehouse", f"amr-00{number}", "http://registry.test", "warehouse")
        (tmp_path / str(number) / PULL_FILE).write_bytes(canonical_json(settings))
        pulls.robot.updater._journal = replace(pulls.robot.updater.journal, robot=settings.robot)
        pulls.puller.round()
        state = pulls.puller.state()
        assert state is not None
        starts.add(round(state.next_poll_at - pulls.robot.world.time, 1))
    assert len(starts) == 5
    assert max(starts) <= 60.0


def test_another_robots_file_is_refused(pulls: Pulling) -> None:
    settings = PullSettings("warehouse", "amr-002", "http://registry.test", "warehouse")
    (pulls.robot.root / PULL_FILE).write_bytes(canonical_json(settings))
    pulls.puller.round()
    state = pulls.puller.state()
    assert state is not None
    assert "pull.json is of robot amr-002" in state.problem, "said in status, too"
    assert any("pull.json is of robot amr-002, this machine is amr-001" in text for text in pulls.said)


def test_a_look_that_breaks_is_a_problem_and_the_thread_goes_on(pulls: Pulling) -> None:
    def broken(_words: list[str], _given: bytes | None) -> dict[str, Any]:
        raise WorldError("the process that asks registry and hub ended with 1: Killed", "see its log")

    pulls.puller._ask = broken
    assert "ended with 1: Killed" in pulls.poll().problem


def test_a_defect_is_said_and_the_thread_lives(pulls: Pulling, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(_words: list[str], _given: bytes | None) -> dict[str, Any]:
        raise ZeroDivisionError("by zero")

    pulls.puller._ask, ask = broken, pulls.puller._ask
    pulls.puller._asked = True
    assert pulls.puller._safe_round() > 0.0
    state = pulls.puller.state()
    assert state is not None
    assert "a defect of the updater: ZeroDivisionError: by zero" in state.problem
    assert "Traceback" in capsys.readouterr().err
    pulls.puller._ask = ask
    assert pulls.poll().problem == ""


def test_what_the_process_says_is_held_against_its_shape(pulls: Pulling) -> None:
    pulls.answer = {"seen": {"digest": 7}, "order": {"order_id": "x"}}
    assert "cannot be kept" in pulls.poll().problem
    assert pulls.robot.journal.desired is None


def test_an_order_that_a_robot_made_before_its_process_died_is_one_order(pulls: Pulling) -> None:
    pulls.says("1")
    pulls.poll()
    pulls.robot.boot()
    pulls.puller = pulls.started()
    pulls.poll()
    assert pulls.drive().outcome == "committed"
    assert len(pulls.robot.history(9)) == 1


def test_orders_over_ssh_commit_as_before(pulls: Pulling) -> None:
    told: UpdateOrder = order("1", order_id="by-ssh", probation=replace(RULES, autonomy=True))
    pulls.robot.updater.submit(told)
    assert pulls.drive().outcome == "committed"
    assert "reach" not in pulls.asked
