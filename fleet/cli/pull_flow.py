"""`fleet rollout` and `rollback` for robots that pull: begin, go on, wait, answer, tell. See docs/rollout.md."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from fleet.cli.desired import bring_roots, office
from fleet.cli.newest import announced
from fleet.cli.plan_signing import let_sign
from fleet.cli.pull_steps import Answer, PullSteps, words_of
from fleet.cli.rollout_flow import (
    begin,
    confirm,
    hooks_of,
    plan_changes,
    render_result,
    result_document,
    rollout_lock,
)
from fleet.cli.ui.activity import Activity, activity
from fleet.cli.ui.console import conclude, notice
from fleet.cli.ui.signature_view import Prove
from fleet.cli.wiring import Wiring
from fleet.errors import FleetError, LockHeld, PlanOutdated, RolloutPaused, UsageError
from fleet.oci.releases import PublishedRelease
from fleet.publish.tags import TagMove
from fleet.resolve.desired import DesiredRobot
from fleet.rollout import audit
from fleet.rollout.orders import check_known
from fleet.rollout.pull import decision
from fleet.rollout.pull.decision import Decision
from fleet.rollout.pull.stages import Wishes, last_stage, make_plan, stages_of
from fleet.rollout.pull.standing import Look
from fleet.rollout.result import RolloutResult
from fleet.signing.desired import first_words, publish, read_desired, sign_plan
from runtime.contract.robot.desired import PAUSED, REVERTING, RUNNING, Desired
from runtime.contract.robot.desired_rules import Followed
from runtime.contract.robot.trust import Proof, Signed

LOOK_S = 5.0
"""How often hub and registry are asked while a rollout is watched; less often where a look takes long."""
_LOOKS_SHARE = 5.0
_GOES_ON = (decision.ADVANCE, decision.TAKE_BACK, decision.STOP)


@dataclass(frozen=True, slots=True)
class Mode:
    """How long a command stays with a rollout."""

    once: bool = False
    """One step, then exit code 7 while it is under way."""
    watch: bool = False
    """Until it is over, also while nobody is there to prove the release, or another command holds the lock."""


def pulling(robots: Sequence[DesiredRobot]) -> list[DesiredRobot]:
    """Return the robots that come for their release."""
    return [robot for robot in robots if robot.link == "pull"]


def under_way(wiring: Wiring) -> Followed | None:
    """Return the rollout of robots that pull that is not over; None without one. Raises RegistryError."""
    if not pulling(wiring.desired.robots):
        return None
    followed = read_desired(office(wiring), wiring.clock.now()).followed
    if followed is None or followed.desired.standing not in (RUNNING, PAUSED, REVERTING):
        return None
    part = last_stage(followed.plan) < len(followed.plan.stages)
    if part and followed.desired.standing == RUNNING and followed.desired.stage >= last_stage(followed.plan):
        return None  # of some robots, and at its end: nobody signs that
    return followed


def begin_pull(
    wiring: Wiring,
    release: PublishedRelease,
    robots: Sequence[DesiredRobot],
    *,
    kind: str,
    selector: str | None,
    yes: bool,
    wishes: Wishes,
    prove: Prove,
) -> str:
    """Plan, show, confirm, sign and publish a rollout; return its id. Nothing is reached by its first statement yet.

    It takes the place of any other. Raises RolloutPaused when further people have to sign the plan, PlanOutdated when
    another controller was faster; UsageError, RegistryError, what :func:`fleet.cli.rollout_flow.confirm` raises.
    """
    check_known(release.document, robots)
    before = _said(wiring)
    changes = plan_changes(wiring, release, robots)
    if not yes:
        confirm(wiring, release, changes, robots, ", which come for it by themselves")
    proof = prove() or Proof(release.text, Signed(""))
    names = {robot.name for robot in robots}
    rest = [robot.name for robot in pulling(wiring.desired.robots) if robot.name not in names]
    now, desk = wiring.clock.now(), office(wiring)
    plan = make_plan(
        wiring.desired.fleet,
        release.version,
        release.digest,
        stages_of(robots, changes, wiring.desired.rollout, rest),
        changes,
        rollout_id=audit.new_id(now),
        now=now,
        lasts_s=desk.root.max_release_s,
        wishes=wishes
        if proof.rollback is None
        else Wishes(wishes.force, wishes.override, wishes.stop_start, proof.rollback),
    )
    trust = wiring.desired.trust
    with rollout_lock(wiring, f"{kind} {release.version}, begun"):
        if _said(wiring) != before:
            raise PlanOutdated(
                "another rollout to robots that pull was begun or moved meanwhile",
                hint="fleet rollout --watch goes on with it; or run this again and look at the new plan",
            )
        begin(hooks_of(wiring, release, kind), [robot.name for robot in robots])
        _, unsaid = announced(wiring, release, whole=not selector)
        notice(unsaid)
        signed, missing = sign_plan(desk, plan, trust.sign_with)
        if missing:
            raise RolloutPaused(
                f"the plan of rollout {plan.rollout_id} is {missing}",
                hint=let_sign(plan.rollout_id),
            )
        if not wiring.root_standing.differs:
            bring_roots(wiring, wiring.root_standing.chain)
        words = first_words(read_desired(desk, now), plan, signed.statement, now, wiring.desired.pull.statement)
        publish(desk, words, signed, proof, trust.advance_with or trust.sign_with)
    return plan.rollout_id


def _said(wiring: Wiring) -> Desired | None:
    followed = read_desired(office(wiring), wiring.clock.now()).followed
    return followed.desired if followed is not None else None


def is_over(wiring: Wiring, going: Followed) -> bool:
    """Whether a rollout that is taken back has nobody left to go back, of those that answer. Raises LockHeld."""
    if going.desired.standing != REVERTING:
        return False
    return PullSteps(wiring, going.plan.rollout_id).step().kind == decision.OVER


def refuse_under_way(going: Followed) -> None:
    """Raise RolloutPaused: another rollout is not over."""
    desired, plan = going.desired, going.plan
    how = "is taken back" if desired.standing == REVERTING else f"is {desired.standing}"
    raise RolloutPaused(
        f"the rollout of {plan.version} to robots that pull {how}: it has reached stage {desired.stage} of "
        f"{last_stage(plan)}",
        hint='fleet rollout --watch goes on with it; fleet rollout --abort --reason "WHY" gives it up',
    )


def drive(
    wiring: Wiring,
    rollout_id: str,
    mode: Mode,
    *,
    answer: Answer | None = None,
    until_wave: int | None = None,
    as_json: bool = False,
    first: RolloutResult | None = None,
) -> None:
    """Go on with a rollout until it is over or waits for a person. Raises what the command ends with.

    ``first``: how it ended for robots by SSH, which were changed before and are shown in the same table.
    """
    with activity() as shown:
        steps = PullSteps(wiring, rollout_id, until_wave, _teller(shown))
        found = _steps(steps, mode, answer)
    moved: Sequence[TagMove] = ()
    unwritten: FleetError | None = None
    over = found.kind in (decision.OVER, decision.END)
    if over:
        moved, unwritten = steps.write_down(found)
    error = found.result.error() if over else _waits(found)
    followed = steps.standing().followed
    assert followed is not None
    release = steps.release(followed)
    failures = steps.hooks(followed).failures
    notice(f"{each.hook} failed {each.event}: {each.why}" for each in failures)
    shown_result = found.result if first is None else _together(first, found.result)
    document = result_document(release, shown_result, moved)
    document |= {"rollout": rollout_id, "stage": followed.desired.stage, "stages": last_stage(followed.plan)}
    document["hook_failures"] = [dataclasses.asdict(each) for each in failures]
    document |= {"standing": followed.desired.standing, "waits": None if over else found.reason or "the next stage"}

    def render(console: Console) -> None:
        render_result(console, release, shown_result, moved)

    conclude(as_json, document, render, error or (first.error() if first is not None else None) or unwritten)


def _together(first: RolloutResult, second: RolloutResult) -> RolloutResult:
    """Return both parts of a mixed fleet's rollout as one."""
    return dataclasses.replace(second, robots=(*first.robots, *second.robots), seconds=first.seconds + second.seconds)


def _steps(steps: PullSteps, mode: Mode, answer: Answer | None) -> Decision:
    """Take steps. The operator's answer goes with the first that has the lock."""
    clock = steps.wiring.clock
    while True:
        began = clock.monotonic()
        try:
            found = steps.step(answer)
        except LockHeld as error:
            if not mode.watch:
                raise
            notice([f"{error.message}: looking again"])
            clock.sleep(LOOK_S)
            continue
        answer = None
        if found.kind in (decision.OVER, decision.END) or mode.once:
            return found
        waits_for_person = found.kind in (decision.APPROVAL, decision.PAUSE)
        if waits_for_person or (found.kind == decision.STALLED and not mode.watch):
            return found
        if found.kind not in _GOES_ON:
            clock.sleep(max(LOOK_S, _LOOKS_SHARE * (clock.monotonic() - began)))


def _waits(found: Decision) -> RolloutPaused:
    """Return what a command ends with while a rollout is under way."""
    result, why = found.result, found.reason
    if found.kind in (decision.APPROVAL, decision.PAUSE):
        hint = 'fleet rollout --resume --reason "WHY" goes on; fleet rollout --abort --reason "WHY" gives it up'
        return RolloutPaused(f"the rollout of {result.version} is paused: {why}; {result.summary()}", hint=hint)
    if found.kind in _GOES_ON:
        signed = {decision.ADVANCE: f"stage {found.stage} is signed"}.get(found.kind, f"robots are sent back: {why}")
        why = signed
    return RolloutPaused(
        f"the rollout of {result.version} is under way: {why}; {result.summary()}",
        hint="fleet rollout --watch stays with it; --once takes one step",
    )


def _teller(shown: Activity) -> Any:
    """Return what shows robots whose words changed."""
    before: dict[str, str] = {}

    def tell(followed: Followed, look: Look) -> None:
        now = words_of(look)
        stage = f"stage {followed.desired.stage} of {last_stage(followed.plan)}"
        shown.update("rollout", f"{stage}: {len(look.ended)} ended, {len(look.at_work)} at work")
        for name, words in now.items():
            if before.get(name) != words and name in look.ended:
                shown.done(name, f"{stage}  {name}  {words}")
        before.update(now)

    return tell


def find_rollout(wiring: Wiring) -> str:
    """Return the id of the rollout that is under way, or was last. Raises UsageError without one."""
    standing = read_desired(office(wiring), wiring.clock.now())
    if standing.followed is None:
        raise UsageError(
            f"there is no rollout of robots that pull: {standing.problem}", hint="fleet rollout begins one"
        )
    return standing.followed.plan.rollout_id
