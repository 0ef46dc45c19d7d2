"""`fleet rollout`: bring robots to a published release, wave by wave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from fleet.cli import complete, options
from fleet.cli.desired import office
from fleet.cli.mixed_flow import roll_out_to_all
from fleet.cli.paused_flow import abort_paused, resume_rollout
from fleet.cli.plan_signing import sign_waiting_plan
from fleet.cli.pull_flow import Mode, drive, find_rollout, pulling, under_way
from fleet.cli.pull_steps import Answer
from fleet.cli.ui.rows import want_every
from fleet.cli.ui.signature_view import release_proof
from fleet.cli.wiring import Wiring
from fleet.errors import RolloutPaused, UsageError
from fleet.oci.releases import load_release
from fleet.resolve.inventory import select
from fleet.rollout import audit
from fleet.rollout.pull.stages import Wishes
from fleet.signing.desired import read_desired
from runtime.contract.robot.desired_rules import Followed
from runtime.contract.robot.trust import Proof, Signed

_HISTORY = 200
"""Records that are read to see whether a version was rolled out before."""


def run(
    version: Annotated[
        str | None,
        typer.Argument(help="A published version. Default: the manifest's.", autocompletion=complete.versions),
    ] = None,
    manifest: options.ManifestOption = options.DEFAULT_MANIFEST,
    robots: options.Robots = None,
    yes: options.Yes = False,
    force: options.Force = False,
    override: options.Override = "",
    stop_start: options.StopStart = False,
    until_wave: Annotated[
        int | None, typer.Option("--until-wave", min=1, help="Pause when this wave has passed; --resume goes on.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the rollout that is paused.")] = False,
    abort: Annotated[
        bool, typer.Option("--abort", help="Give up the rollout that is paused: what it committed goes back.")
    ] = False,
    pause: Annotated[bool, typer.Option("--pause", help="Robots that pull: let no further one begin.")] = False,
    reason: Annotated[
        str, typer.Option("--reason", metavar="WHY", help="With --resume, --abort and --pause: why; kept in history.")
    ] = "",
    once: Annotated[
        bool, typer.Option("--once", help="Robots that pull: one step; exit code 7 while it is under way. For CI.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Robots that pull: go on with the rollout that is under way, to its end.")
    ] = False,
    sign_plan: Annotated[
        str | None, typer.Option("--sign-plan", metavar="ROLLOUT", help="Sign a plan that waits for further signers.")
    ] = None,
    every: options.AllRows = False,
    as_json: options.Json = False,
) -> None:
    """Roll out a release: the plan is shown and confirmed; every robot proves what it runs, or reverts."""
    want_every(every)
    wiring = Wiring(manifest)
    _fits(version, robots, until_wave, resume, abort or pause, reason)
    mode = Mode(once, watch)
    if sign_plan is not None:
        prove_version = _prover(wiring)
        sign_waiting_plan(wiring, sign_plan, yes=yes, prove=prove_version)
        drive(wiring, sign_plan, mode, as_json=as_json)
        return
    going = under_way(wiring)
    answer = Answer(reason, resume, abort, pause)
    if going is not None and (resume or abort or pause or ((once or watch) and _is_of(going, version))):
        if (abort or pause) and not reason:
            raise UsageError("the reason is kept in history, and shown by robots", hint='say it: --reason "WHY"')
        drive(wiring, going.plan.rollout_id, mode, answer=answer, until_wave=until_wave, as_json=as_json)
        return
    if watch or (once and _is_over(wiring, version)):
        drive(wiring, find_rollout(wiring), mode, until_wave=until_wave, as_json=as_json)
        return
    if pause:
        raise UsageError("no rollout of robots that pull is under way", hint="fleet status shows what runs where")
    if resume:
        resume_rollout(
            wiring,
            reason=reason,
            until_wave=until_wave,
            yes=yes,
            force=force,
            override=override,
            as_json=as_json,
            stop_start=stop_start,
        )
        return
    if abort:
        abort_paused(wiring, reason=reason, yes=yes, as_json=as_json)
        return
    if once:
        _refuse_what_was_left(wiring, version or wiring.desired.version)
    chosen = select(wiring.desired, robots)
    release = load_release(wiring.registry, wiring.desired.registry.prefix, version or wiring.desired.version)
    proof = release_proof(wiring, release)
    roll_out_to_all(
        wiring,
        release,
        chosen,
        kind=audit.ROLLOUT,
        selector=robots,
        yes=yes,
        wishes=Wishes(force, override, stop_start),
        prove=lambda: proof,
        as_json=as_json,
        until_wave=until_wave,
        mode=mode,
    )


def _is_of(going: Followed, version: str | None) -> bool:
    return version is None or version == going.plan.version


def _is_over(wiring: Wiring, version: str | None) -> bool:
    """Whether the last rollout of robots that pull was of this version: a timer must not begin it again and again."""
    if not pulling(wiring.desired.robots):
        return False
    followed = read_desired(office(wiring), wiring.clock.now()).followed
    return followed is not None and followed.plan.version == (version or wiring.desired.version)


def _refuse_what_was_left(wiring: Wiring, version: str) -> None:
    """Raise RolloutPaused for a version that was rolled out before and then left: a timer must not undo a rollback."""
    records = audit.history(wiring.registry, wiring.desired.registry.prefix, _HISTORY)
    # The part by SSH of a mixed rollout has a record of its own, before the other part has begun.
    left = any((each.version, each.kind, each.selector) == (version, audit.ROLLOUT, "") for each in records)
    if left and pulling(wiring.desired.robots):
        raise RolloutPaused(
            f"{version} was rolled out before, and the fleet was taken to {records[0].version or 'another'} since: "
            "--once does not begin it again",
            hint="publish a new version, or run fleet rollout without --once",
        )


def _prover(wiring: Wiring) -> Callable[[str], Proof | None]:
    prefix = wiring.desired.registry.prefix

    def prove(version: str) -> Proof | None:
        release = load_release(wiring.registry, prefix, version)
        return release_proof(wiring, release) or Proof(release.text, Signed(""))

    return prove


def _fits(
    version: str | None, robots: str | None, until_wave: int | None, resume: bool, abort: bool, reason: str
) -> None:
    """Raise UsageError for options that contradict each other."""
    if resume and abort:
        raise UsageError("--resume and --abort (or --pause) are given", hint="give one of them")
    if (resume or abort) and (version is not None or robots is not None):
        raise UsageError("the paused rollout has its version and its robots", hint="leave VERSION and --robots out")
    if abort and until_wave is not None:
        raise UsageError("--abort runs no wave", hint="leave --until-wave out")
    if reason and not (resume or abort):
        raise UsageError("--reason belongs to --resume and --abort", hint="leave it out")
