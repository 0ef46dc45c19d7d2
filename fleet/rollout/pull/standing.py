"""One robot of a rollout by its newest report: how it ended for it, or what it is at. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fleet.rollout.gate import Outcome, judge
from fleet.rollout.result import RobotResult
from fleet.rollout.robot_update import OUTCOMES
from fleet.signing.reports import STALE, UNASKED, VERIFIED, ReportVerdict, in_words
from runtime.contract.node.report import Report
from runtime.contract.printable import printable
from runtime.contract.robot.desired import ABORTED, REVERTING, stage_of
from runtime.contract.robot.desired_rules import Followed
from runtime.contract.robot.orders import order_id_of
from runtime.contract.robot.release import ReleaseDocument
from runtime.contract.robot.update import ACTIVE_STATES, UpdateState

_MOST_SAID = 300
TAKEN_BACK = "the rollout is taken back"
"""How a robot's reason begins where the statement sent it back."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long robots are waited for, in seconds."""

    reachable_s: float
    """A robot that has not reported for so long is away (`pull: reachable`)."""
    lost_s: float
    """One that took its order is lost when it has been away for so long (`rollout: lost: after`)."""


@dataclass(frozen=True)
class Look:
    """Robots of the stages that are reached, by their newest reports."""

    ended: Mapping[str, RobotResult] = field(default_factory=dict)
    at_work: Mapping[str, str] = field(default_factory=dict)
    """Robot → what it is at, for people."""
    back: frozenset[str] = frozenset()
    """Robots that do not run the rollout's release: of a rollout that is taken back, those that need nothing more."""


def look_at(
    followed: Followed,
    document: ReleaseDocument,
    verdicts: Mapping[str, ReportVerdict],
    patience: Patience,
    now: float,
) -> Look:
    """Return where the robots of the reached stages are. ``verdicts``: robot → what its report is worth.

    A robot that no stage lists belongs to the last one.
    """
    ended: dict[str, RobotResult] = {}
    at_work: dict[str, str] = {}
    back: set[str] = set()
    for name, verdict in verdicts.items():
        stage = stage_of(followed.plan, name)
        if stage > followed.desired.stage:
            continue
        one = _Robot(name, stage, verdict, followed, document, patience, now)
        found = one.standing()
        if isinstance(found, str):
            at_work[name] = printable(found, _MOST_SAID)
        else:
            ended[name] = found
        if one.is_back:
            back.add(name)
    return Look(ended, at_work, frozenset(back))


class _Robot:
    """One robot, its report, and the statement that it is to follow."""

    def __init__(
        self,
        name: str,
        stage: int,
        verdict: ReportVerdict,
        followed: Followed,
        document: ReleaseDocument,
        patience: Patience,
        now: float,
    ) -> None:
        self._name, self._stage, self._verdict, self._followed = name, stage, verdict, followed
        self._document, self._patience, self._now = document, patience, now
        plan = followed.plan
        self._order = order_id_of(plan.version, plan.rollout_id)
        self._records = plan.stages[stage - 1].records if plan.stages else False

    @property
    def is_back(self) -> bool:
        """Whether the rollout's release is not its doing any more: it runs another, or had it before."""
        report = self._verdict.report
        if report is None or report.attestation.state.state in ACTIVE_STATES:
            return False
        state = report.attestation.state
        ours = state.order_id == self._order and state.outcome == "committed"
        return not self._runs(state) or not ours

    def standing(self) -> RobotResult | str:
        """Return how it ended for the robot, or what it is at."""
        verdict = self._verdict
        report = verdict.report
        if verdict.standing == UNASKED:
            return verdict.problem
        if report is None:
            away = verdict.standing in ("none", STALE)
            return self._result(Outcome.OFFLINE if away else Outcome.REFUSED, verdict.problem, tried=away)
        return self._fresh(report) if verdict.standing == VERIFIED else self._away(report)

    def _away(self, report: Report) -> RobotResult | str:
        """Its last words are old: what it had committed then it has committed."""
        state, problem = report.attestation.state, self._verdict.problem
        took = state.order_id == self._order
        if took and state.state in ACTIVE_STATES:
            silent_s = self._now - report.at
            if silent_s > self._patience.reachable_s + self._patience.lost_s:
                return self._result(Outcome.LOST, f"took its order, was {state.state}, and then: {problem}")
            return f"{state.state}, {problem}"
        found = self._by_state(report) if took or self._runs(state) else None
        if isinstance(found, RobotResult):
            return self._result(found.outcome, "; ".join(filter(None, (found.reason, problem))), state)
        return self._result(Outcome.OFFLINE, problem)

    def _fresh(self, report: Report) -> RobotResult | str:
        state, desired = report.attestation.state, self._followed.desired
        if state.state in ACTIVE_STATES:
            return state.progress or state.state
        if desired.standing in (REVERTING, ABORTED) and not self._runs(state):
            return self._left(state)
        if desired.standing == REVERTING and not self.is_back:
            return "is to go back"
        if state.order_id == self._order or self._runs(state):
            return self._by_state(report)
        return self._not_begun(report)

    def _left(self, state: UpdateState) -> RobotResult:
        """It does not run the release of a rollout that is given up."""
        if state.outcome == "reverted" and state.reason.startswith(TAKEN_BACK):
            return self._result(Outcome.ROLLED_BACK, state.reason, state)
        if state.order_id == self._order and state.outcome != "committed":
            return self._by_state_outcome(state)
        return self._result(Outcome.SKIPPED, "the rollout ended before its turn", state)

    def _by_state_outcome(self, state: UpdateState) -> RobotResult:
        outcome = OUTCOMES.get(state.outcome, Outcome.FAILED)
        return self._result(outcome, state.reason or f"ended as {state.outcome or state.state}", state)

    def _not_begun(self, report: Report) -> RobotResult | str:
        """It answers, and has no order of this rollout."""
        pull, desired = report.pull, self._followed.desired
        seen = pull is not None and pull.generation >= desired.generation
        if pull is not None and pull.held and seen:
            return self._result(Outcome.DEFERRED, pull.held, report.attestation.state)
        waited_s = self._now - desired.generation  # A generation is the time at which it was signed.
        why = (pull.problem or pull.held) if pull is not None else "it does not say that it pulls"
        if waited_s > self._patience.reachable_s + self._patience.lost_s:
            words = f"reports, and has not begun for {in_words(waited_s)}" + (f": {why}" if why else "")
            return self._result(Outcome.OFFLINE, words, report.attestation.state)
        return (
            f"has not looked yet: {why}" if why and not seen else "is about to begin" if seen else "has not looked yet"
        )

    def _by_state(self, report: Report) -> RobotResult:
        """Judge what it runs as an SSH rollout does before it confirms."""
        state = report.attestation.state
        if state.order_id == self._order and state.outcome != "committed":
            return self._by_state_outcome(state)
        if not self._runs(state):
            return self._result(Outcome.FAILED, "had committed, and runs another release now", state)
        variant = self._document.variant_of(self._name)
        if variant is None:
            return self._result(Outcome.REFUSED, f"release {self._document.version} does not know it", tried=False)
        verdict = judge(report.attestation, variant)
        # Where the container was left alone, what is wrong with it was wrong before this release.
        against = verdict.wrong if self._records else verdict.reasons
        if against:
            return self._result(Outcome.FAILED, "committed, but " + "; ".join(against), state)
        return self._result(Outcome.COMMITTED, "; ".join(verdict.unhealthy + verdict.notes), state)

    def _runs(self, state: UpdateState) -> bool:
        return state.current is not None and state.current.release_digest == self._followed.plan.release

    def _result(
        self, outcome: Outcome, reason: str, state: UpdateState | None = None, *, tried: bool = True
    ) -> RobotResult:
        ours = state is not None and state.order_id == self._order and outcome is Outcome.COMMITTED
        return RobotResult(
            self._name,
            outcome,
            printable(reason, _MOST_SAID),
            state.hint if state is not None else "",
            wave=self._stage,
            fetched_bytes=state.fetched_bytes if state is not None and state.order_id == self._order else None,
            order_id=self._order if ours else "",
            tried=tried,
        )
