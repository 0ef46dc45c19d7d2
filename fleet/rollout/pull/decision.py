"""What is to be signed next: stages are judged by the gate of SSH rollouts, from what robots reported. Pure.

Level-triggered: the answer follows from statement, plan and reports alone, so whoever asks may die and begin again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fleet.manifest.schema.manifest_schema import Rollout
from fleet.rollout.gate import Outcome
from fleet.rollout.pull.stages import last_stage, waves_of
from fleet.rollout.pull.standing import Look
from fleet.rollout.result import RobotResult, RolloutResult
from fleet.rollout.tally import Tally
from runtime.contract.robot.desired import ABORTED, ENDED, PAUSED, REVERTING, RUNNING, stage_of
from runtime.contract.robot.desired_rules import Followed

WAIT, STALLED, ADVANCE, APPROVAL = "wait", "stalled", "advance", "approval"
"""Robots are at work · none of a stage is there to prove the release · the next stage is to be signed · it waits for a
person."""
PAUSE, END, TAKE_BACK, STOP, OVER = "pause", "end", "take back", "stop", "over"
"""It is to pause, so that no other command goes on with it · the last stage passed · robots are to go back · nothing
new is to begin · there is nothing left to do."""
OPERATOR = "aborted by "
"""How the reason of an operator's abort begins; any other is the gate's."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows from the reports."""

    kind: str
    reason: str
    """For people: why robots go back, or what is waited for."""
    result: RolloutResult
    """How it stands, or how it ended."""
    stage: int = 0
    """To be signed next."""


def decide(
    followed: Followed,
    look: Look,
    names: Sequence[str],
    policy: Rollout,
    *,
    approved: bool = False,
    until_wave: int | None = None,
) -> Decision:
    """Say what is to be signed next. ``names``: all robots of the rollout, in the order in which they are shown.

    ``approved``: the next stage that wants an approval has it. ``until_wave``: go no further than this wave, from 1.
    """
    return _Stages(followed, look, names, policy).decide(approved, until_wave)


class _Stages:
    def __init__(self, followed: Followed, look: Look, names: Sequence[str], policy: Rollout) -> None:
        self._followed, self._look, self._names = followed, look, names
        self._plan, self._desired = followed.plan, followed.desired
        self._tally = Tally(len(names), policy)
        self._by_stage: dict[int, list[str]] = {}
        for name in names:
            self._by_stage.setdefault(stage_of(self._plan, name), []).append(name)
        for result in look.ended.values():
            self._tally.note(result)

    def decide(self, approved: bool, until_wave: int | None) -> Decision:
        standing = self._desired.standing
        if standing in (REVERTING, ABORTED):
            return self._taking_back()
        if standing == ENDED:
            return Decision(OVER, "", self._judged())
        if standing == PAUSED and not approved:
            return Decision(APPROVAL, self._desired.reason or "it is paused", self._judged(), self._desired.stage)
        return self._running(approved, until_wave)

    def _taking_back(self) -> Decision:
        """Wait until each robot that answers is back; of those that are away the statement takes care."""
        left = [name for name in self._look.at_work if name not in self._look.back]
        result = self._result()
        why = self._desired.reason or self._desired.standing
        by_operator = why.startswith(OPERATOR)
        result = dataclasses.replace(result, aborted=why if by_operator else "", failed="" if by_operator else why)
        if left:
            return Decision(WAIT, f"{why}; {self._first_at_work(left)}", result)
        return Decision(OVER, why, result)

    def _running(self, approved: bool, until_wave: int | None) -> Decision:
        stage, last = self._desired.stage, last_stage(self._plan)
        result = self._judged()
        if self._tally.failed:
            return Decision(TAKE_BACK if self._tally.goes_back else STOP, self._tally.failed, result, stage)
        waiting = [name for name in self._reached() if name in self._look.at_work]
        if waiting:
            return Decision(WAIT, self._first_at_work(waiting), result)
        if self._tally.stalled or (stage and not self._any_committed()):
            return Decision(STALLED, self._tally.stalled or f"no robot of stage {stage} has committed", result)
        if stage >= last:
            # With robots that were not asked for behind it, the statement stays where it is.
            return Decision(END if last == len(self._plan.stages) else OVER, "", result, stage)
        return self._next(stage + 1, result, approved, until_wave)

    def _next(self, stage: int, result: RolloutResult, approved: bool, until_wave: int | None) -> Decision:
        wave = next(number for number, stages in enumerate(waves_of(self._plan), start=1) if stage in stages)
        if until_wave is not None and wave > until_wave:
            return Decision(PAUSE, f"wave {wave} is not asked for", result, stage)
        if self._plan.stages[stage - 1].approve and not approved:
            return Decision(APPROVAL, f"stage {stage} of {last_stage(self._plan)} wants an approval", result, stage)
        return Decision(ADVANCE, "", result, stage)

    def _judged(self) -> RolloutResult:
        """Judge each wave that has begun, in order; the first that fails says why.

        A wave is judged when its last robot has ended, or when it cannot pass any more. One in which all are away holds
        nobody up once a wave before it was proven.
        """
        waves = waves_of(self._plan)
        for number, stages in enumerate(waves, start=1):
            reached = [stage for stage in stages if stage <= self._desired.stage]
            if not reached or self._tally.failed:
                break
            names = [name for stage in stages for name in self._by_stage.get(stage, ())]
            begun = [name for stage in reached for name in self._by_stage.get(stage, ())]
            at_work = any(name in self._look.at_work for name in begun)
            whole = len(reached) == len(stages) and not at_work
            if names and (whole or self._hopeless(names)):
                self._tally.judge(names, f"wave {number} of {len(waves)}")
                if self._tally.stalled and self._any_committed():
                    self._tally.stalled = ""
        result = self._result()
        running = self._desired.standing == RUNNING
        return dataclasses.replace(result, failed=self._tally.failed if running else "", stalled=self._tally.stalled)

    def _hopeless(self, names: Sequence[str]) -> bool:
        """Whether the wave's other robots are spared. The tally counts by stage: give it the wave's own numbers."""
        wave = Tally(len(self._names), self._tally.policy)
        for name in names:
            if name in self._look.ended:
                wave.note(dataclasses.replace(self._look.ended[name], wave=1))
        return wave.no_use(1, len(names))

    def _any_committed(self) -> bool:
        return any(each.outcome is Outcome.COMMITTED for each in self._look.ended.values())

    def _reached(self) -> list[str]:
        return [name for name in self._names if stage_of(self._plan, name) <= self._desired.stage]

    def _first_at_work(self, names: Sequence[str]) -> str:
        others = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return "; ".join(f"{name}: {self._look.at_work.get(name, '')}" for name in names[:3]) + others

    def _result(self) -> RolloutResult:
        robots = tuple(self._look.ended.get(name) or self._open(name) for name in self._names)
        return RolloutResult(
            version=self._plan.version,
            robots=robots,
            waves=tuple(self._tally.verdicts),
            planned_waves=len(waves_of(self._plan)),
        )

    def _open(self, name: str) -> RobotResult:
        stage = stage_of(self._plan, name)
        why = self._look.at_work.get(name) or f"waits for stage {stage} of {last_stage(self._plan)}"
        return RobotResult(name, Outcome.SKIPPED, why, wave=stage)


def tell_apart(before: Mapping[str, str], look: Look) -> list[tuple[str, str]]:
    """Return the robots whose words changed since ``before`` (robot → words), with their new words."""
    now = {name: f"{each.outcome.value}  {each.reason}".strip() for name, each in look.ended.items()}
    now |= dict(look.at_work)
    return [(name, words) for name, words in now.items() if before.get(name) != words]
