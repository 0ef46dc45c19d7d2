"""What a robot that pulls does about the desired statement that it has seen. Pure: journal and time give one step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Optional

from runtime.contract.robot.desired import ABORTED, PAUSED, REVERTING
from runtime.contract.robot.desired_rules import at, why_older
from runtime.contract.robot.orders import order_id_of
from runtime.contract.robot.pull_state import PullState
from runtime.contract.robot.update import COMMITTED, DEFERRED
from runtime.updater.state.records import Journal, SeenDesired
from runtime.updater.state.transitions import BEFORE_SWITCH
from runtime.updater.transaction.preflight import Refused
from runtime.updater.transaction.standing import clock_trouble
from runtime.updater.transaction.state_machine import is_active

#: What is to be done now.
NOTHING, COME, AGAIN, REVERT, ABORT = "nothing", "come", "again", "revert", "abort"
#: A deferred order is tried again after so long, where nobody knows when its window opens.
AGAIN_S = 60.0
CLOCK_HINT = "set the robot's clock (timedatectl set-ntp true)"


@dataclass(frozen=True)
class PullStep:
    """``COME``: make the order of the plan. ``AGAIN``: begin the deferred one again. The others: of ``order_id``."""

    kind: str = NOTHING
    held: str = ""
    """Why the robot does not run what the statement says, or waits; for people."""
    order_id: str = ""


def take_desired(journal: Journal, seen: SeenDesired) -> Journal:
    """Return the journal with a statement that was verified. Raises Refused for one that was overtaken."""
    before = journal.desired
    why = why_older(None if before is None else before.statement, seen.statement)
    if why:
        raise Refused(why, "find out who wrote to the registry; `fleet rollout` signs a newer one")
    kept = seen if before is None else replace(seen, order_id=before.order_id)
    if before is not None and replace(before, seen=kept.seen) == kept:
        return journal
    return replace(journal, desired=kept)


def next_step(journal: Journal, now: float) -> PullStep:
    """Return what is to be done by the statement in the journal. ``now``: Unix seconds by the robot's clock."""
    trouble = clock_trouble(journal, now)
    if trouble:
        return PullStep(held="held: {} -> {}".format(trouble, CLOCK_HINT))
    seen = journal.desired
    if seen is None:
        return PullStep(held="no desired statement was seen here yet")
    expired = why_expired(seen, now)
    if seen.statement.standing in (REVERTING, ABORTED):
        return _ended(journal, seen, expired)
    if expired and _runs(journal, seen) and not is_active(journal):
        return PullStep(held="stale: " + expired)
    waits = _waits(journal, seen, expired)
    return waits if waits is not None else _coming(journal, seen, now)


def why_expired(seen: SeenDesired, now: float) -> str:
    """Say what has expired; empty when nothing has."""
    if now > seen.statement.expires_at:
        text = "the last desired statement (rollout {}, generation {}) expired at {}"
        return text.format(seen.statement.rollout_id, seen.statement.generation, at(seen.statement.expires_at))
    if now > seen.plan_expires_at:
        return "the plan of rollout {} expired at {}".format(seen.statement.rollout_id, at(seen.plan_expires_at))
    return ""


def _ended(journal: Journal, seen: SeenDesired, expired: str) -> PullStep:
    """A rollout was aborted, or is taken back."""
    mine, reason = order_id_of(seen.version, seen.statement.rollout_id), _because(seen)
    at_work = is_active(journal) and journal.order is not None and journal.order.order_id == mine
    if expired:
        return PullStep(held="stale: " + expired)
    if seen.statement.standing == REVERTING:
        if at_work or (not is_active(journal) and _runs_by(journal, seen, mine)):
            return PullStep(REVERT, "the rollout is taken back{}".format(reason), mine)
        return PullStep(
            held="" if not _runs(journal, seen) else "it had this release before the rollout that is taken back"
        )
    if at_work and journal.state in BEFORE_SWITCH:
        return PullStep(ABORT, "the rollout was aborted{}".format(reason), mine)
    return PullStep(held="" if _runs(journal, seen) else "the rollout was aborted{}".format(reason))


def _waits(journal: Journal, seen: SeenDesired, expired: str) -> Optional[PullStep]:
    """Return why nothing begins now; None when the order may be made, or goes on."""
    mine, active = order_id_of(seen.version, seen.statement.rollout_id), is_active(journal)
    if active and journal.order is not None and journal.order.order_id == mine:
        return PullStep()
    if active and journal.pulled and journal.state in BEFORE_SWITCH and journal.order is not None:
        return PullStep(ABORT, "another rollout took the place of this one", journal.order.order_id)
    if active:
        return PullStep(held="waits for the order in progress ({})".format(journal.state))
    if _runs(journal, seen):
        return PullStep()
    if seen.statement.standing == PAUSED:
        return PullStep(held="the rollout is paused{}".format(_because(seen)))
    if seen.statement.stage < seen.mine:
        text = "waits for its stage: it is in stage {} of {}, the rollout has reached {}"
        return PullStep(held=text.format(seen.mine, seen.stages, seen.statement.stage or "none"))
    return PullStep(held="stale: " + expired) if expired else None


def _coming(journal: Journal, seen: SeenDesired, now: float) -> PullStep:
    """Return the order that is due, or how the one that was made ended."""
    mine, last = order_id_of(seen.version, seen.statement.rollout_id), journal.last
    if seen.order_id != mine:
        return PullStep(COME)
    if last is None or last.order_id != mine:
        return PullStep(held="{} was taken off this robot by hand: the next rollout changes it".format(seen.version))
    if last.outcome != DEFERRED:
        return PullStep(held="its order {} ended: {}: {}".format(mine, last.outcome, last.reason))
    due = last.finished_at + AGAIN_S if last.until is None else last.until
    if now >= due and journal.order is not None and journal.order.order_id == mine:
        return PullStep(AGAIN, order_id=mine)
    return PullStep(held="not now: {}".format(last.reason), order_id=mine)


def _runs(journal: Journal, seen: SeenDesired) -> bool:
    return journal.current is not None and journal.current.release_digest == seen.release


def _runs_by(journal: Journal, seen: SeenDesired, mine: str) -> bool:
    """Whether it runs the release because an order of this rollout committed it here."""
    last = journal.last
    return _runs(journal, seen) and last is not None and (last.order_id, last.outcome) == (mine, COMMITTED)


def _because(seen: SeenDesired) -> str:
    return ": " + seen.statement.reason if seen.statement.reason else ""


def pull_state(journal: Journal, held: str, next_poll_at: float = 0.0, problem: str = "") -> PullState:
    """Return how the robot stands to the statement that it follows."""
    seen = journal.desired
    if seen is None:
        return PullState(held=held, next_poll_at=next_poll_at, problem=problem)
    said = seen.statement
    return PullState(said.generation, said.rollout_id, seen.mine, held, next_poll_at, problem)
