"""`fleet rollout --sign-plan`: a plan for robots that pull is shown, signed by a further person, and published."""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

from fleet.cli.desired import office
from fleet.cli.rollout_flow import Declined, rollout_lock
from fleet.cli.ui.console import plain, stderr
from fleet.cli.wiring import Wiring
from fleet.errors import RolloutPaused, UsageError
from fleet.signing.desired import first_words, publish, read_desired, read_plan, sign_plan
from runtime.contract.codec import ContractError, from_json
from runtime.contract.robot.desired import PLAN_LIMITS, REST, RolloutPlan
from runtime.contract.robot.trust import Proof, Signed


def sign_waiting_plan(wiring: Wiring, rollout_id: str, *, yes: bool, prove: Callable[[str], Proof | None]) -> None:
    """Sign a plan that waits for further signers, after showing it; publish its first statement once enough have.

    ``prove``: returns the proof of a version. Raises UsageError, NotSigned, RolloutPaused while signers are missing.
    """
    desk, trust = office(wiring), wiring.desired.trust
    waiting = read_plan(desk, rollout_id)
    if waiting is None:
        raise UsageError(f"no plan of rollout {rollout_id} waits", hint="fleet rollout names it when it needs signers")
    try:
        plan = from_json(RolloutPlan, waiting.statement, PLAN_LIMITS)
    except ContractError as error:
        raise UsageError(f"the plan of {rollout_id} cannot be read: {error}", hint="begin again") from error
    _show_plan(plan, yes)
    signed, missing = sign_plan(desk, plan, trust.sign_with)
    if missing:
        raise RolloutPaused(f"the plan of rollout {rollout_id} is {missing}", hint=let_sign(rollout_id))
    proof, now = prove(plan.version), wiring.clock.now()
    if proof is None or plan.rollback is not None:
        proof = Proof(proof.document, proof.release, plan.rollback) if proof else Proof("", Signed(""))
    with rollout_lock(wiring, f"rollout {plan.version}, signed"):
        words = first_words(read_desired(desk, now), plan, signed.statement, now, wiring.desired.pull.statement)
        publish(desk, words, signed, proof, trust.advance_with or trust.sign_with)


def _show_plan(plan: RolloutPlan, yes: bool) -> None:
    console = stderr()
    console.print(f"rollout {plain(plan.rollout_id)} of {plain(plan.version)} ({plan.release[7:19]})")
    for number, stage in enumerate(plan.stages, start=1):
        reached = "not asked for" if stage.wave == REST else f"stage {number}"
        console.print(f"{reached}: {len(stage.robots)} robots: {plain(', '.join(stage.robots[:8]))}")
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("the plan is to be looked at, and there is no terminal to ask on", hint="give --yes")
    if not typer.confirm("Sign it?", err=True):
        raise Declined("not signed: you answered no", hint="nothing was changed")


def let_sign(rollout_id: str) -> str:
    """Say what further signers do."""
    return f"let them sign it: fleet rollout --sign-plan {rollout_id}"
