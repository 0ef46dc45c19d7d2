"""One robot through one update: hand over the order, watch, attest over a new connection, confirm or send back.

A robot that gives no usable answer (no link, a command that hangs, an answer that is none) is waited for until its own
deadline and the manifest's ``lost.after`` beyond it; then it is lost. Silence never counts against the release.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import TypeVar

from fleet.errors import FleetError, RobotError
from fleet.link.robot import SILENCE, OnSilence, OnState, RobotClient, RobotLost, insist
from fleet.plan.diff import RobotChange, moved
from fleet.ports import Clock
from fleet.rollout.gate import Outcome, Verdict, judge
from fleet.rollout.limits import Limits
from fleet.rollout.orders import finished, same_target
from fleet.rollout.result import RobotResult
from runtime.contract.robot.update import (
    ACTIVE_STATES,
    COMMITTED,
    DEFERRED,
    REFUSED,
    REVERTED,
    REVERTING,
    UpdateOrder,
    UpdateState,
)

T = TypeVar("T")
_RETRY_S = 2.0
OUTCOMES = {
    COMMITTED: Outcome.COMMITTED,
    REVERTED: Outcome.REVERTED,
    REFUSED: Outcome.REFUSED,
    DEFERRED: Outcome.DEFERRED,
}


class RolloutInterrupted(Exception):
    """The operator wants to stop."""


class _Outdated(Exception):
    """The robot does not run any more what the plan was made from."""


class RobotUpdate:
    """Takes one robot to one order's end. Every step can be taken again after a crash: the robot knows where it is."""

    def __init__(
        self,
        client: RobotClient,
        order: UpdateOrder,
        clock: Clock,
        *,
        change: RobotChange,
        limits: Limits,
        stop: threading.Event,
        abandon: threading.Event,
        on_state: OnState,
        on_silence: OnSilence = lambda _why, _until: None,
    ) -> None:
        """``change``: what was planned for this robot; a robot that moved since is left alone.

        ``stop``: send the robot back and end. ``abandon``: leave it; it goes back by itself.
        """
        self._client = client
        self._order = order
        self._order_id = order.order_id
        self._clock = clock
        self._change = change
        self._limits = limits
        self._stop = stop
        self._abandon = abandon
        self._on_state = on_state
        self._on_silence = on_silence
        self._asked = False
        """It answered at its turn: from now on what it says counts."""
        self._taken = False
        """The robot may have the order, so from now on silence is waited for and it may be lost."""
        self._accepted = False
        """It said that it has the order."""
        self._committed = False

    def run(self) -> RobotResult:
        """Return how it ended; raises nothing of FleetError."""
        started = self._clock.monotonic()
        try:
            result = self._run()
        except RolloutInterrupted:
            result = self._send_back_interrupted()
        except _Outdated as outdated:
            result = self._result(Outcome.OUTDATED, str(outdated), hint="look at fleet plan, then run this again")
        except FleetError as error:
            result = self._failed(error)
        finally:
            self._client.close()
        return dataclasses.replace(result, seconds=self._clock.monotonic() - started)

    def _failed(self, error: FleetError) -> RobotResult:
        words = error.words if isinstance(error, RobotError) else error.message
        silent = isinstance(error, (*SILENCE, RobotLost))
        if silent and self._committed:
            words = f"it reported the commit, then stopped answering: {words}"
        elif silent and self._taken:
            took = "took the order" if self._accepted else "may have taken the order"
            words = f"{took}, then did not answer until after its own deadline: {words}"
        if self._taken:
            return self._result(Outcome.LOST if silent else Outcome.FAILED, words, hint=error.hint)
        outcome = Outcome.OFFLINE if silent else Outcome.REFUSED
        # A robot that could not even be asked has said nothing about the release: it is in no wave.
        return dataclasses.replace(self._result(outcome, words, hint=error.hint), tried=self._asked)

    def _run(self) -> RobotResult:
        state = self._free()
        self._asked = True
        if state.state != "idle":
            # An earlier run's order for the same: go on with it.
            self._order_id, self._taken, self._accepted = state.order_id, True, True
        elif same_target(state.current, self._order) and not self._order.force:
            if judge(self._client.attest(), self._order.variant).passed:
                return self._result(Outcome.COMMITTED, "already there")
            self._submit()
        else:
            sentence = "" if same_target(state.current, self._order) else moved(self._change, state.current)
            if sentence:
                raise _Outdated(sentence)
            self._submit()
        return self._to_the_end()

    def _to_the_end(self) -> RobotResult:
        """Watch the update; whenever the robot awaits its confirmation, attest and confirm. Silence leads back here."""
        deadline = self._clock.monotonic() + self._limits.update_s(self._order)
        while True:
            state = self._wait(self._settled, "the update", deadline)
            if not state.awaiting_confirmation or state.order_id != self._order_id:
                return self._ended(state)
            try:
                result = self._confirm()
            except SILENCE as error:
                self._on_silence(error, self._silent_until(deadline)(state, self._clock.monotonic()))
                self._clock.sleep(_RETRY_S)  # The robot's own limit for the confirmation ends this.
                continue
            if result is not None:
                return result
            return self._ended(self._wait(self._over, "the commit", self._clock.monotonic() + self._limits.switch_s))

    def _settled(self, state: UpdateState) -> bool:
        """Say whether there is nothing to wait for: the end, our turn to confirm, or somebody else's order."""
        return state.awaiting_confirmation or self._over(state)

    def _over(self, state: UpdateState) -> bool:
        return finished(state, self._order_id) or state.order_id != self._order_id

    def _free(self) -> UpdateState:
        """Return the state once the robot is idle, or at work on the very same release."""

        def free(state: UpdateState) -> bool:
            ours = state.state in ACTIVE_STATES and state.state != REVERTING and same_target(state.target, self._order)
            return state.state == "idle" or ours

        self._check_stop()
        state = self._client.status()
        if free(state):
            return state
        self._asked = True
        return self._client.wait_for(
            free,
            what="the update in progress there",
            deadline=self._clock.monotonic() + self._limits.update_s(self._order),
            silent_until=lambda _seen, seen_at: seen_at + self._limits.submit_s,  # Nothing of ours is there yet.
            on_state=self._on_state,
            on_silence=self._on_silence,
            check=self._check_stop,
        )

    def _submit(self) -> None:
        """Hand the order over; a link that breaks meanwhile leaves open whether it arrived, so it is sent again."""

        def submit() -> UpdateState:
            self._check_stop()
            try:
                return self._client.submit(self._order)
            finally:
                self._taken = self._taken or self._client.in_doubt

        asked_at = self._clock.monotonic()

        def until() -> float:
            if not self._taken:
                return asked_at + self._limits.submit_s
            return self._silent_until(asked_at + self._limits.update_s(self._order))(None, asked_at)

        self._insist(submit, until)
        self._accepted = True

    def _confirm(self) -> RobotResult | None:
        """Compare what runs with the release, over a new connection; then commit (None), or send the robot back.

        Raises one of SILENCE: ask where the robot is, then try again.
        """
        self._check_stop()
        verdict: Verdict = judge(self._client.attest_anew(), self._order.variant)
        if not verdict.passed:
            return self._send_back("; ".join(verdict.reasons), Outcome.REVERTED)
        self._check_stop()
        try:
            self._client.confirm(self._order_id)
        except SILENCE:
            raise
        except RobotError:
            if not finished(self._client.status(), self._order_id):
                raise  # Too late is an outcome, told by the state; anything else is an error.
        return None

    def _insist(self, ask: Callable[[], T], until: Callable[[], float]) -> T:
        return insist(ask, self._clock, until, self._on_silence)

    def _ended(self, state: UpdateState) -> RobotResult:
        if state.order_id != self._order_id:
            return self._result(Outcome.FAILED, f"another order ({state.order_id}) came in between", state)
        outcome = OUTCOMES.get(state.outcome, Outcome.FAILED)
        if outcome is not Outcome.COMMITTED:
            return self._result(outcome, state.reason or f"ended as {state.outcome or state.state}", state)
        self._committed = True
        until = self._clock.monotonic() + self._limits.lost_after_s
        verdict = judge(self._insist(self._client.attest, lambda: until), self._order.variant)
        if verdict.wrong:
            return self._result(Outcome.FAILED, "committed, but " + "; ".join(verdict.wrong), state)
        # Identity is right. Health was judged before the commit; where the container was left alone, what is wrong
        # with it was wrong before this release, and is told without stopping it.
        return self._result(Outcome.COMMITTED, "; ".join(verdict.unhealthy + verdict.notes), state)

    def _send_back(self, reason: str, outcome: Outcome) -> RobotResult:
        """Tell the robot to go back and wait until it did. The verdict stands even when it does not answer any more."""
        until = self._clock.monotonic() + self._limits.revert_s(self._order)

        def revert() -> UpdateState:
            self._check_abandon()
            return self._client.revert(self._order_id, reason)

        try:
            self._insist(revert, lambda: until)
            state = self._client.wait_for(
                lambda seen: seen.state == "idle",
                what="the revert",
                deadline=self._clock.monotonic() + self._limits.revert_s(self._order),
                on_state=self._on_state,
                on_silence=self._on_silence,
                check=self._check_abandon,
            )
        except (*SILENCE, RobotLost) as error:
            words = f"{reason}; then gave no answer ({error.words}): without a confirmation it reverts by itself"
            return self._result(Outcome.LOST if outcome is Outcome.ABORTED else Outcome.FAILED, words, hint=error.hint)
        if state.outcome == COMMITTED:
            return self._result(Outcome.FAILED, f"committed although the order was to revert: {reason}", state)
        if state.outcome not in (REVERTED, REFUSED):
            return self._result(Outcome.FAILED, f"{reason}; and could not revert: {state.reason}", state)
        return self._result(outcome, reason, state)

    def _send_back_interrupted(self) -> RobotResult:
        if not self._taken:
            return self._result(Outcome.SKIPPED, "interrupted before anything changed")
        if self._abandon.is_set():
            return self._result(Outcome.LOST, "left during its update; without a confirmation it reverts by itself")
        try:
            return self._send_back("the rollout was interrupted", Outcome.ABORTED)
        except RobotError as error:
            return self._result(Outcome.LOST, f"{error.words}; without a confirmation it reverts by itself")

    def _wait(self, done: Callable[[UpdateState], bool], what: str, deadline: float) -> UpdateState:
        return self._client.wait_for(
            done,
            what=what,
            deadline=deadline,
            silent_until=self._silent_until(deadline),
            on_state=self._on_state,
            on_silence=self._on_silence,
            check=self._check_stop,
        )

    def _silent_until(self, deadline: float) -> Callable[[UpdateState | None, float], float]:
        """Return until when silence is waited for, by what was seen last and when: the robot's deadline, and more.

        What was seen narrows the deadline down: a robot that was seen in probation ends sooner than one that fetches.
        """

        def until(seen: UpdateState | None, seen_at: float) -> float:
            left_s = self._limits.left_s(self._order, seen)
            own = deadline if left_s is None else min(deadline, seen_at + left_s)
            return max(own, seen_at) + self._limits.lost_after_s

        return until

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise RolloutInterrupted

    def _check_abandon(self) -> None:
        if self._abandon.is_set():
            raise RobotError(self._client.name, "left during its revert")

    def _result(
        self, outcome: Outcome, reason: str, state: UpdateState | None = None, *, hint: str = ""
    ) -> RobotResult:
        fetched = state.fetched_bytes if state is not None else None
        hint = hint or (state.hint if state is not None else "")
        return RobotResult(
            self._client.name,
            outcome,
            reason,
            hint,
            fetched_bytes=fetched,
            order_id=self._order_id if self._committed else "",
        )
