"""What becomes of a paused rollout: gone on with, or given up. It is in the registry, so anybody can."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from fleet.cli.newest import newest_of, to_bring
from fleet.cli.rollout_flow import (
    Declined,
    begin,
    confirm,
    hooks_of,
    opening,
    plan_changes,
    rollout_lock,
    show_event,
    tell_result,
    write_down,
)
from fleet.cli.ui.activity import activity
from fleet.cli.ui.console import many, plain, stderr
from fleet.cli.ui.signature_view import release_proof
from fleet.cli.wiring import Wiring
from fleet.errors import PlanOutdated, UsageError
from fleet.oci.releases import PublishedRelease, load_release
from fleet.resolve.desired import DesiredRobot
from fleet.rollout import audit, pause
from fleet.rollout.controller import abort_rollout, roll_out
from fleet.rollout.pause import PausedRollout


def resume_rollout(
    wiring: Wiring,
    *,
    reason: str,
    until_wave: int | None,
    yes: bool,
    force: bool,
    override: str,
    as_json: bool,
    stop_start: bool = False,
) -> None:
    """Go on with the rollout that is paused: plan anew, refuse what changed, record who said why, and roll out.

    Raises UsageError when none is paused or a reason is missing, PlanOutdated for what changed, and what a rollout
    ends with.
    """
    paused = _find(wiring)
    called = f"wave {paused.next_wave} of {len(paused.waves)}"
    if paused.approval and not reason:
        raise UsageError(
            f"{called} of the rollout of {paused.version} wants an approval, and its reason is kept in history",
            hint='say why it may go on: fleet rollout --resume --reason "the canary ran for a day"',
        )
    if until_wave is not None and until_wave < paused.next_wave:
        raise UsageError(
            f"--until-wave {until_wave}: the rollout of {paused.version} goes on with wave {paused.next_wave}",
            hint=f"give --until-wave {paused.next_wave} or more, or leave it out",
        )
    release, robots = _release(wiring, paused), _robots(wiring, paused)
    changes = plan_changes(wiring, release, robots)
    earlier = pause.earlier_of(paused, robots, {each.robot: each for each in changes}, wiring.desired.rollout)
    if not yes:
        confirm(wiring, release, changes, robots, f": goes on with {called}", "Go on?")
    proof = release_proof(wiring, release)
    hooks = hooks_of(wiring, release, audit.ROLLOUT)
    started, prefix = wiring.clock.now(), wiring.desired.registry.prefix
    newest = to_bring(newest_of(wiring))
    with rollout_lock(wiring, f"rollout {paused.version}, resumed") as lock:
        _still(wiring, paused)
        begin(hooks, [robot.name for robot in robots])
        approval = audit.approval(
            wiring.desired.fleet,
            version=paused.version,
            release_digest=paused.release_digest,
            wave=called,
            reason=reason,
            clock=wiring.clock,
        )
        audit.append(wiring.registry, prefix, approval)
        pause.end(wiring.registry, prefix, paused, "resumed")
        with activity() as shown:
            result = roll_out(
                release.document,
                release.digest,
                robots,
                changes,
                opening(wiring, newest),
                policy=wiring.desired.rollout,
                clock=wiring.clock,
                on_event=lambda event: show_event(shown, event),
                keep_lock=lock.keep,
                force=force,
                override=override,
                stop_start=stop_start,
                proof=proof,
                earlier=earlier,
                until_wave=until_wave,
                on_wave=hooks.wave,
            )
        moved, unwritten = write_down(
            wiring,
            release,
            result,
            changes,
            kind=audit.ROLLOUT,
            at=started,
            selector=paused.selector,
            override=override,
        )
    tell_result(release, result, moved, unwritten, as_json, hooks)


def abort_paused(wiring: Wiring, *, reason: str, yes: bool, as_json: bool) -> None:
    """Give up the rollout that is paused; what it committed goes back where ``rollout/on_failure`` is ``revert``.

    Raises UsageError when none is paused or no reason is given, and what robots that did not go back end with.
    """
    paused = _find(wiring)
    if not reason:
        raise UsageError(
            f"the reason for giving up the rollout of {paused.version} is kept in history",
            hint='say why: fleet rollout --abort --reason "WHY"',
        )
    release, robots = _release(wiring, paused), _robots(wiring, paused)
    results = pause.results_so_far(paused)
    changes = plan_changes(wiring, release, robots)
    if not yes:
        _confirm_abort(wiring, paused, sum(bool(each.order_id) for each in results))
    hooks = hooks_of(wiring, release, audit.ROLLOUT)
    started, prefix = wiring.clock.now(), wiring.desired.registry.prefix
    newest = to_bring(newest_of(wiring))
    with rollout_lock(wiring, f"abort of rollout {paused.version}") as lock:
        _still(wiring, paused)
        pause.end(wiring.registry, prefix, paused, "aborted")
        with activity() as shown:
            result = abort_rollout(
                release.document,
                release.digest,
                robots,
                changes,
                opening(wiring, newest),
                results=results,
                reason=reason,
                policy=wiring.desired.rollout,
                clock=wiring.clock,
                on_event=lambda event: show_event(shown, event),
                keep_lock=lock.keep,
            )
        moved, unwritten = write_down(
            wiring, release, result, changes, kind=audit.ROLLOUT, at=started, selector=paused.selector
        )
    tell_result(release, result, moved, unwritten, as_json, hooks)


def _confirm_abort(wiring: Wiring, paused: PausedRollout, committed: int) -> None:
    if not sys.stdin.isatty():
        raise UsageError(
            f"the rollout of {paused.version} would be given up; there is no terminal to ask on",
            hint="run this with --yes",
        )
    goes = "go back" if wiring.desired.rollout.on_failure == "revert" else "stay on it (rollout/on_failure: stop)"
    stderr().print(f"rollout of [bold]{plain(paused.version)}[/]: {many(committed, 'robot')} that committed {goes}")
    if not typer.confirm("Give it up?", err=True):
        raise Declined("not aborted: the question was answered with no", hint="it stays paused")


def _find(wiring: Wiring) -> PausedRollout:
    paused = pause.find(wiring.registry, wiring.desired.registry.prefix)
    if paused is None:
        raise UsageError("no rollout is paused", hint="fleet history says what became of it; fleet rollout begins one")
    return paused


def _still(wiring: Wiring, paused: PausedRollout) -> None:
    """Raise PlanOutdated when somebody else resumed or aborted it while we looked and asked."""
    now = pause.find(wiring.registry, wiring.desired.registry.prefix)
    if now is None or now.id != paused.id:
        raise PlanOutdated(
            f"the paused rollout of {paused.version} was taken up by another command meanwhile",
            hint="fleet history says by whom; fleet status shows whether one is paused",
        )


def _release(wiring: Wiring, paused: PausedRollout) -> PublishedRelease:
    release = load_release(wiring.registry, wiring.desired.registry.prefix, paused.version)
    if release.digest != paused.release_digest:
        raise PlanOutdated(
            f"release {paused.version} is {release.digest[7:19]} in the registry now, and was "
            f"{paused.release_digest[7:19]} when its rollout paused",
            hint="find out who moved the tag; fleet rollback VERSION ends the paused rollout",
        )
    return release


def _robots(wiring: Wiring, paused: PausedRollout) -> Sequence[DesiredRobot]:
    """Return its robots, in the manifest's order."""
    wanted = {robot.name for robot in paused.robots}
    found = [robot for robot in wiring.desired.robots if robot.name in wanted]
    if gone := sorted(wanted - {robot.name for robot in found}):
        raise PlanOutdated(
            f"{', '.join(gone[:5])} took part in the paused rollout, and the manifest does not have them any more",
            hint="put them back into the manifest, then fleet rollout --resume or --abort",
        )
    return found
