"""One robot through one update: hand over the order, watch, attest over a new connection, confirm or send back."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from fleet.errors import FleetError, RobotError, RobotOffline
from fleet.link.robot import OnState, RobotClient, UpdaterSilent
from fleet.ports import Clock
from fleet.rollout.gate import Outcome, Verdict, judge
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
_SLACK = 2.0
"""A robot may fetch so many times longer than its image takes at the manifest's rate: links are slower at times."""
_OUTCOMES = {
    COMMITTED: Outcome.COMMITTED,
    REVERTED: Outcome.REVERTED,
    REFUSED: Outcome.REFUSED,
    DEFERRED: Outcome.DEFERRED,
}


class RolloutInterrupted(Exception):
    """The operator wants to stop."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long to wait for one robot, seconds."""

    fetch_s: float = 3600.0
    submit_s: float = 60.0
    switch_s: float = 180.0
    """For `docker compose up` and a revert, beyond what the release's own probation allows."""

    def update_s(self, order: UpdateOrder) -> float:
        """From the order to its end (the way back included), or to the wait for confirmation."""
        rules = order.probation
        waits = 2 * order.switch.wait_s  # for the download's window, then for the switch's or the lock
        fetch_s = max(self.fetch_s, _SLACK * order.variant.image_bytes / (order.switch.bytes_per_s or float("inf")))
        return waits + fetch_s + self.switch_s + rules.ready_timeout_s + rules.soak_s + self.revert_s(order)

    def revert_s(self, order: UpdateOrder) -> float:
        """From the wish to go back to the old release running again."""
        return self.switch_s + order.probation.ready_timeout_s + order.probation.soak_s


class RobotUpdate:
    """Takes one robot to one order's end. Every step can be taken again after a crash: the robot knows where it is."""

    def __init__(
        self,
        client: RobotClient,
        order: UpdateOrder,
        clock: Clock,
        *,
        limits: Limits,
        stop: threading.Event,
        abandon: threading.Event,
        on_state: OnState,
    ) -> None:
        """``stop``: send the robot back and end. ``abandon``: leave it; it goes back by itself."""
        self._client = client
        self._order = order
        self._order_id = order.order_id
        self._clock = clock
        self._limits = limits
        self._stop = stop
        self._abandon = abandon
        self._on_state = on_state
        self._taken = False
        """The robot may have the order, so silence from now on counts against the release."""
        self._committed = False

    def run(self) -> RobotResult:
        """Return how it ended; raises nothing of FleetError."""
        started = self._clock.monotonic()
        try:
            result = self._run()
        except RolloutInterrupted:
            result = self._send_back_interrupted()
        except RobotOffline as error:
            outcome = Outcome.LOST if self._taken else Outcome.OFFLINE
            result = self._result(outcome, error.words, hint=error.hint)
        except FleetError as error:
            outcome = Outcome.FAILED if self._taken else Outcome.REFUSED
            words = error.words if isinstance(error, RobotError) else error.message
            result = self._result(outcome, words, hint=error.hint)
        finally:
            self._client.close()
        return dataclasses.replace(result, seconds=self._clock.monotonic() - started)

    def _run(self) -> RobotResult:
        state = self._free()
        if state.state != "idle":
            self._order_id, self._taken = state.order_id, True  # An earlier run's order for the same: go on with it.
        elif same_target(state.current, self._order) and not self._order.force:
            if judge(self._client.attest(), self._order.variant).passed:
                return self._result(Outcome.COMMITTED, "already there")
            state = self._submit()
        else:
            state = self._submit()
        state = self._wait(self._settled, "the update", self._limits.update_s(self._order))
        if state.awaiting_confirmation and state.order_id == self._order_id:
            return self._confirm()
        return self._ended(state)

    def _settled(self, state: UpdateState) -> bool:
        """Say whether there is nothing to wait for: the end, our turn to confirm, or somebody else's order."""
        return state.awaiting_confirmation or finished(state, self._order_id) or state.order_id != self._order_id

    def _free(self) -> UpdateState:
        """Return the state once the robot is idle, or at work on the very same release."""

        def free(state: UpdateState) -> bool:
            ours = state.state in ACTIVE_STATES and state.state != REVERTING and same_target(state.target, self._order)
            return state.state == "idle" or ours

        state = self._client.status()
        if free(state):
            return state
        return self._wait(free, "the update in progress there", self._limits.update_s(self._order))

    def _submit(self) -> UpdateState:
        """Hand the order over; a link that breaks meanwhile leaves open whether it arrived, so it is sent again."""

        def submit() -> UpdateState:
            self._check_stop()
            try:
                return self._client.submit(self._order)
            finally:
                self._taken = self._taken or self._client.in_doubt

        return self._insist(submit, self._limits.submit_s)

    def _confirm(self) -> RobotResult:
        """Compare what runs with the release, over a new connection; then commit, or send the robot back."""

        def attest() -> Verdict:
            self._check_stop()
            return judge(self._client.attest_anew(), self._order.variant)

        limit_s = self._order.probation.confirm_timeout_s
        verdict = self._insist(attest, limit_s)
        if not verdict.passed:
            return self._send_back("; ".join(verdict.reasons), Outcome.REVERTED)
        try:
            self._insist(lambda: self._client.confirm(self._order_id), limit_s)
        except RobotOffline:
            raise
        except RobotError:
            if not finished(self._client.status(), self._order_id):
                raise  # Too late is an outcome, told below; anything else is an error.
        state = self._wait(lambda seen: finished(seen, self._order_id), "the commit", self._limits.switch_s)
        return self._ended(state)

    def _insist(self, ask: Callable[[], T], limit_s: float) -> T:
        """Ask again while the robot is away; past the limit raise what kept us from it."""
        deadline = self._clock.monotonic() + limit_s
        while True:
            try:
                return ask()
            except (RobotOffline, UpdaterSilent):
                if self._clock.monotonic() >= deadline:
                    raise
            self._clock.sleep(_RETRY_S)

    def _ended(self, state: UpdateState) -> RobotResult:
        if state.order_id != self._order_id:
            return self._result(Outcome.FAILED, f"somebody else's order {state.order_id} came between", state)
        outcome = _OUTCOMES.get(state.outcome, Outcome.FAILED)
        if outcome is not Outcome.COMMITTED:
            return self._result(outcome, state.reason or f"ended as {state.outcome or state.state}", state)
        self._committed = True
        verdict = judge(self._client.attest(), self._order.variant)
        if verdict.wrong:
            return self._result(Outcome.FAILED, "committed, but " + "; ".join(verdict.wrong), state)
        # Identity is right. Health was judged before the commit; where the container was left alone, what is wrong
        # with it was wrong before this release, and is told without stopping it.
        return self._result(Outcome.COMMITTED, "; ".join(verdict.unhealthy + verdict.notes), state)

    def _send_back(self, reason: str, outcome: Outcome) -> RobotResult:
        limit_s = self._limits.revert_s(self._order)

        def revert() -> UpdateState:
            self._check_abandon()
            return self._client.revert(self._order_id, reason)

        self._insist(revert, limit_s)
        state = self._client.wait_for(
            lambda seen: seen.state == "idle",
            what="the way back",
            deadline=self._clock.monotonic() + limit_s,
            on_state=self._on_state,
            check=self._check_abandon,
        )
        if state.outcome == COMMITTED:
            return self._result(Outcome.FAILED, f"committed although it was told to go back: {reason}", state)
        if state.outcome not in (REVERTED, REFUSED):
            return self._result(Outcome.FAILED, f"{reason}; and could not go back: {state.reason}", state)
        return self._result(outcome, reason, state)

    def _send_back_interrupted(self) -> RobotResult:
        if not self._taken:
            return self._result(Outcome.SKIPPED, "interrupted before anything changed")
        if self._abandon.is_set():
            return self._result(Outcome.LOST, "left alone in its update; it goes back by itself without confirmation")
        try:
            return self._send_back("the rollout was interrupted", Outcome.ABORTED)
        except RobotError as error:
            return self._result(Outcome.LOST, f"{error.words}; it goes back by itself without confirmation")

    def _wait(self, done: Callable[[UpdateState], bool], what: str, limit_s: float) -> UpdateState:
        return self._client.wait_for(
            done,
            what=what,
            deadline=self._clock.monotonic() + limit_s,
            on_state=self._on_state,
            check=self._check_stop,
        )

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise RolloutInterrupted

    def _check_abandon(self) -> None:
        if self._abandon.is_set():
            raise RobotError(self._client.name, "left on its way back")

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
