"""The plan that signers sign once: every robot in its stage, by the rules that SSH rollouts make waves by. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleet.manifest.schema.manifest_schema import Rollout
from fleet.plan.diff import Action, RobotChange
from fleet.plan.waves import batches, plan_waves
from fleet.resolve.desired import DesiredRobot
from runtime.contract.robot.desired import REST, RolloutPlan, Stage
from runtime.contract.robot.trust import Signed

PLAN_LASTS_S = 30 * 86400.0
"""How long a plan counts; a rollout that takes longer needs a new one."""
_STAYS = (Action.RECORD, Action.NONE)
_THERE = (Action.UPDATE, Action.WAIT, *_STAYS)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What an operator asks for on the command line, and signs with the plan."""

    force: bool = False
    override: str = ""
    stop_start: bool = False
    rollback: Signed | None = None
    """Where the release is older than what robots had: the signed rollback order."""


def stages_of(
    robots: Sequence[DesiredRobot], changes: Sequence[RobotChange], policy: Rollout, rest: Sequence[str] = ()
) -> tuple[Stage, ...]:
    """Return the stages. Robots that are away are in the last one: a canary that is not there proves nothing.

    ``rest``: robots that pull and were not asked for. A robot that no stage lists belongs to the last one, so they
    stand in one of their own, which is never reached.
    """
    by_name = {change.robot: change for change in changes}
    there = [robot for robot in robots if by_name[robot.name].action in _THERE]
    away = tuple(robot.name for robot in robots if by_name[robot.name].action not in _THERE)
    stays = {robot.name for robot in there if by_name[robot.name].action in _STAYS}
    stages: list[Stage] = []
    for number, wave in enumerate(plan_waves(there, stays, policy), start=1):
        split = [list(wave.robots)] if wave.records else batches(wave.robots, policy.max_unavailable)
        for at, batch in enumerate(split):
            names = tuple(robot.name for robot in batch)
            stages.append(Stage(names, wave.approve and at == 0, number, wave.records))
    if away:
        stages.append(Stage(away, False, stages[-1].wave if stages else 1))
    if rest:
        stages.append(Stage(tuple(rest), False, REST))
    return tuple(stages)


def last_stage(plan: RolloutPlan) -> int:
    """Return the number of the last stage that the rollout is to reach."""
    return sum(stage.wave != REST for stage in plan.stages)


def make_plan(
    fleet: str,
    version: str,
    release: str,
    stages: tuple[Stage, ...],
    changes: Sequence[RobotChange],
    *,
    rollout_id: str,
    now: float,
    lasts_s: float,
    wishes: Wishes,
) -> RolloutPlan:
    """Return the plan to sign. ``release``: its digest. ``now``: Unix seconds; ``lasts_s``: how long it may count."""
    before = [change.from_version for change in changes if change.from_version and change.from_version != version]
    issued = float(int(now))
    return RolloutPlan(
        fleet=fleet,
        rollout_id=rollout_id,
        version=version,
        release=release,
        stages=stages,
        issued_at=issued,
        expires_at=issued + min(PLAN_LASTS_S, lasts_s),
        back_to=max(sorted(set(before)), key=before.count, default=""),
        rollback=wishes.rollback,
        force=wishes.force,
        override=wishes.override,
        stop_start=wishes.stop_start,
    )


def waves_of(plan: RolloutPlan) -> list[tuple[int, ...]]:
    """Return the plan's waves: numbers of the stages, from 1, that are judged together."""
    found: list[tuple[int, ...]] = []
    for number, stage in enumerate(plan.stages, start=1):
        if stage.wave == REST:
            continue
        before = plan.stages[number - 2].wave if number > 1 else 0
        if stage.wave and stage.wave == before:
            found[-1] = (*found[-1], number)
        else:
            found.append((number,))
    return found
