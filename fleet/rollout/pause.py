"""A paused rollout, kept in the registry so that anybody may go on with it, from any checkout. It holds no lock.

One document under one tag beside the lock's tickets. It is unsigned, as the audit trail is: what it says of robots is
held against the robots, and its waves against those that the manifest at hand makes, before anything goes on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fleet.errors import PlanOutdated
from fleet.manifest.schema.manifest_schema import Rollout
from fleet.oci.json_documents import get_record, put_record
from fleet.plan.diff import Action, RobotChange
from fleet.plan.waves import PlannedWave, plan_waves
from fleet.ports import Registry
from fleet.resolve.desired import DesiredRobot
from fleet.rollout import audit
from fleet.rollout.gate import Outcome
from fleet.rollout.result import RobotResult, RolloutResult
from runtime.contract.codec import SCHEMA, digest_of
from runtime.contract.printable import printable

PAUSED_TYPE = "application/vnd.jetfleet.paused.v1+json"
TAG = "paused"


@dataclass(frozen=True)
class PausedWave:
    """One wave of the plan, by the names of its robots."""

    robots: tuple[str, ...]
    approve: bool = False
    records: bool = False
    """Its robots' containers stay as they are."""


@dataclass(frozen=True)
class PausedRobot:
    """How it ended for one robot so far, or what it ran when the rollout paused."""

    name: str
    outcome: str
    """One of `Outcome`; ``skipped``: its wave is still to come."""
    reason: str = ""
    wave: int = 0
    seconds: float = 0.0
    fetched_bytes: int = 0
    order_id: str = ""
    tried: bool = True
    fingerprint: str = ""
    """Of a robot whose wave is still to come: what it ran when the plan was made."""


@dataclass(frozen=True)
class PausedRollout:
    """A rollout that waits before a wave."""

    id: str
    fleet: str
    version: str
    release_digest: str
    by: str
    """``user@host`` of whoever ran the part before."""
    at: float
    """When it paused, Unix seconds of their clock."""
    next_wave: int
    """1-based: the wave that has not begun."""
    approval: bool
    """That wave wants somebody's reason; False: it was paused by ``--until-wave``."""
    waves: tuple[PausedWave, ...]
    robots: tuple[PausedRobot, ...]
    policy: str
    """Digest of the manifest's ``rollout``."""
    selector: str = ""
    ended: str = ""
    """Empty while it waits; else what became of it: resumed, aborted or replaced, and by whom."""
    schema: int = SCHEMA

    def age_s(self, now: float) -> float:
        """Return how long it has waited, in seconds; never negative."""
        return max(0.0, now - self.at)

    def waits_for(self) -> str:
        """Return a clause for people: what it waits for."""
        wave = f"wave {self.next_wave} of {len(self.waves)}"
        return f"{wave} waits for an approval" if self.approval else f"{wave} waits for --resume"


@dataclass(frozen=True, slots=True)
class Earlier:
    """What a resumed rollout starts from."""

    waves: tuple[PlannedWave, ...]
    next_wave: int
    results: tuple[RobotResult, ...]
    """Of the robots whose turn is over."""


def policy_digest(policy: Rollout) -> str:
    """Return what identifies the rules of a rollout: a wave that was approved goes on under the same."""
    return digest_of(policy.model_dump(mode="json"))


def paused_rollout(
    result: RolloutResult,
    changes: Sequence[RobotChange],
    *,
    fleet: str,
    release_digest: str,
    policy: Rollout,
    selector: str,
    at: float,
) -> PausedRollout:
    """Return the document of a rollout that ended with ``result.paused``. ``at``: Unix seconds, now."""
    pause = result.paused
    assert pause is not None, "only a paused rollout is written down as one"
    planned = {change.robot: change.fingerprint for change in changes}
    return PausedRollout(
        id=audit.new_id(at),
        fleet=fleet,
        version=result.version,
        release_digest=release_digest,
        by=audit.operator(),
        at=at,
        next_wave=pause.wave,
        approval=pause.approval,
        waves=tuple(
            PausedWave(tuple(robot.name for robot in wave.robots), wave.approve, wave.records) for wave in pause.waves
        ),
        robots=tuple(
            PausedRobot(
                each.name,
                each.outcome.value,
                printable(each.reason, audit.MAX_REASON),
                each.wave,
                round(each.seconds, 3),
                each.fetched_bytes or 0,
                each.order_id,
                each.tried,
                planned.get(each.name, "") if each.outcome is Outcome.SKIPPED else "",
            )
            for each in result.robots
        ),
        policy=policy_digest(policy),
        selector=printable(selector),
    )


# ── in the registry ──────────────────────────────────────────────────────────────────────────────────────────────


def save(registry: Registry, prefix: str, paused: PausedRollout) -> None:
    """Write it, in the place of the one before. Raises RegistryError."""
    put_record(registry, f"{prefix}/locks", TAG, paused, PAUSED_TYPE)


def find(registry: Registry, prefix: str) -> PausedRollout | None:
    """Return the rollout that waits, or None. Raises RegistryError, NewerRecord."""
    found = get_record(registry, f"{prefix}/locks", TAG, PausedRollout)
    return found[0] if found is not None and not found[0].ended else None


def end(registry: Registry, prefix: str, paused: PausedRollout, how: str) -> None:
    """Say that it waits no more: it stays readable, as not every registry deletes. Raises RegistryError."""
    save(registry, prefix, dataclasses.replace(paused, ended=f"{how} by {audit.operator()}"))


# ── going on ─────────────────────────────────────────────────────────────────────────────────────────────────────


def results_so_far(paused: PausedRollout) -> tuple[RobotResult, ...]:
    """Return how it ended for the robots whose turn is over. Raises PlanOutdated for a document that is none."""
    known = {outcome.value for outcome in Outcome}
    if odd := next((each for each in paused.robots if each.outcome not in known), None):
        raise PlanOutdated(
            f"the document of the paused rollout is damaged: {odd.name} is {printable(odd.outcome, 40)!r}",
            hint="fleet rollback ends it; then fleet rollout makes a new plan",
        )
    return tuple(
        RobotResult(
            each.name,
            Outcome(each.outcome),
            each.reason,
            wave=each.wave,
            seconds=each.seconds,
            fetched_bytes=each.fetched_bytes,
            order_id=each.order_id,
            tried=each.tried,
        )
        for each in paused.robots
        if each.outcome != Outcome.SKIPPED.value
    )


def moved_robots(paused: PausedRollout, changes: Mapping[str, RobotChange]) -> list[str]:
    """Return a sentence for each robot that is not any more as the pause left it: committed or untouched.

    Robots that do not answer now are not judged: the rollout counts them as offline.
    """
    found: list[str] = []
    for robot in paused.robots:
        change = changes[robot.name]
        if not change.fingerprint:
            continue
        runs = change.from_version or "nothing"
        if robot.outcome == Outcome.COMMITTED.value and not is_on(change, paused.release_digest):
            found.append(f"{robot.name} had committed {paused.version} and runs {runs} now")
        elif robot.fingerprint and robot.fingerprint != change.fingerprint:
            found.append(f"{robot.name} was untouched and runs {runs} now")
    return found


def is_on(change: RobotChange, release_digest: str) -> bool:
    """Say whether the robot answered, and runs this release."""
    return change.fingerprint.startswith(f"{release_digest}/")


def earlier_of(
    paused: PausedRollout, robots: Iterable[DesiredRobot], changes: Mapping[str, RobotChange], policy: Rollout
) -> Earlier:
    """Return what to start from, or raise PlanOutdated: rules, robots or the document are not those of the pause."""
    hint = "fleet rollout --abort ends it; then fleet rollout makes a new plan"
    if paused.policy != policy_digest(policy):
        raise PlanOutdated("the manifest's rollout rules changed since the rollout paused", hint=hint)
    if moved := moved_robots(paused, changes):
        more = f", and {len(moved) - 5} more" if len(moved) > 5 else ""
        raise PlanOutdated(f"robots changed since the rollout paused: {'; '.join(moved[:5])}{more}", hint=hint)
    by_name = {robot.name: robot for robot in robots}
    recording = {name for wave in paused.waves if wave.records for name in wave.robots}
    listed = [name for wave in paused.waves for name in wave.robots]
    idle = (Action.RECORD, Action.NONE, Action.OFFLINE)
    if awake := [name for name in recording if name in changes and changes[name].action not in idle]:
        raise PlanOutdated(f"{awake[0]} would change now, and was to stay as it is", hint=hint)
    ordered = [robot for robot in by_name.values() if robot.name in set(listed)]
    planned = plan_waves(ordered, recording, policy)
    made = tuple(PausedWave(tuple(r.name for r in wave.robots), wave.approve, wave.records) for wave in planned)
    results = results_so_far(paused)
    over = {result.name for result in results}
    before = {name for wave in paused.waves[: paused.next_wave - 1] for name in wave.robots}
    if made != paused.waves or not 1 <= paused.next_wave <= len(made) or not before <= over:
        raise PlanOutdated("the waves of the paused rollout are not those that this manifest makes", hint=hint)
    return Earlier(tuple(planned), paused.next_wave, results)
