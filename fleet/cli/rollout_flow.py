"""What `rollout` and `rollback` share: show the plan, ask, hold the lock, roll out, record, move the tags."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from fleet.cli.commands.plan import add_robots, changed_variables, summary
from fleet.cli.newest import announced
from fleet.cli.ui.activity import Activity, activity
from fleet.cli.ui.console import conclude, notice, plain, remarks, size, stderr, table
from fleet.cli.ui.robots import observe
from fleet.cli.ui.rows import alike, are_many, gist, names
from fleet.cli.ui.signature_view import Prove
from fleet.cli.wiring import Wiring
from fleet.errors import FleetError, OutsideError, PlanOutdated, RegistryError, RobotsOffline, UsageError
from fleet.link.robot import RobotClient
from fleet.oci.releases import PublishedRelease
from fleet.plan.compare import shown_variables
from fleet.plan.diff import Action, RobotChange, changed_since, robot_changes
from fleet.publish.tags import TagMove, move_tags
from fleet.resolve.desired import DesiredRobot
from fleet.rollout import audit, pause
from fleet.rollout.controller import OpenClient, roll_out
from fleet.rollout.gate import Outcome
from fleet.rollout.hooks import BEFORE_ROLLOUT, MOST_NAMES, Hooks, make_hooks
from fleet.rollout.lock import RolloutLock
from fleet.rollout.orders import check_known, folder_of
from fleet.rollout.result import Pause, RolloutEvent, RolloutResult, paused_error
from runtime.contract.robot.newest import Newest
from runtime.contract.robot.trust import Signed

NO_QUESTION = {Action.NONE, Action.OFFLINE, Action.BOOTSTRAP, Action.ERROR}
"""With nothing else there is nothing to agree to: no robot would change."""

STYLES = {
    Outcome.COMMITTED: "green",
    Outcome.OFFLINE: "yellow",
    Outcome.DEFERRED: "yellow",
    Outcome.OUTDATED: "yellow",
    Outcome.SKIPPED: "dim",
}


class Declined(FleetError):
    """The operator looked at the plan and does not want it."""

    exit_code = 3


def run_rollout(
    wiring: Wiring,
    release: PublishedRelease,
    robots: Sequence[DesiredRobot],
    *,
    kind: str,
    selector: str | None,
    yes: bool,
    force: bool,
    override: str,
    prove: Prove,
    as_json: bool,
    stop_start: bool = False,
    notes: Sequence[str] = (),
    until_wave: int | None = None,
    tell: bool = True,
) -> RolloutResult:
    """Bring ``robots`` to ``release``. Raises what the command ends with.

    ``tell`` False: a part of a rollout, whose result the caller tells; only what ended it early is raised here.

    ``notes``: what is to be said before the question, and in the result.

    ``prove`` is called once robots are really to be changed, and gives what they ask for before they believe the order.
    A rollout is refused while another one is paused; a rollback is the way out, so it ends the one that is paused, and
    no wave of it wants an approval.
    """
    check_known(release.document, robots)
    for note in notes:
        stderr().print(f"note: {plain(note)}")
    if kind == audit.ROLLOUT:
        refuse_paused(wiring)
    changes = plan_changes(wiring, release, robots)
    if not yes:
        confirm(wiring, release, changes, robots)
    proof = prove()
    hooks = hooks_of(wiring, release, kind)
    started = wiring.clock.now()
    with rollout_lock(wiring, f"{kind} {release.version}") as lock:
        if kind == audit.ROLLOUT:
            refuse_paused(wiring)
        else:
            notes = (*notes, *_replace_paused(wiring, release.version))
        begin(hooks, [robot.name for robot in robots])
        newest, unsaid = announced(wiring, release, whole=not selector)
        notice(unsaid)
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
                until_wave=until_wave,
                approvals=kind == audit.ROLLOUT,
                on_wave=hooks.wave,
            )
        moved, unwritten = write_down(
            wiring, release, result, changes, kind=kind, at=started, selector=selector or "", override=override
        )
    error = result.error()
    if tell or unwritten is not None or (error is not None and not isinstance(error, RobotsOffline)):
        tell_result(release, result, moved, unwritten, as_json, hooks, notes)
    return result


def opening(wiring: Wiring, newest: tuple[Signed, Newest] | None) -> OpenClient:
    """Return how a rollout speaks to a robot. ``newest``: the statement that robots are brought."""
    return lambda robot: RobotClient(robot.address, wiring.shells, wiring.clock, newest=newest)


def hooks_of(wiring: Wiring, release: PublishedRelease, kind: str) -> Hooks:
    """Return the manifest's hooks, their secrets read. Raises UsageError for one that is missing."""
    desired = wiring.desired
    return make_hooks(
        desired.hooks,
        fleet=desired.fleet,
        version=release.version,
        release=release.digest,
        kind=kind,
        root=desired.root,
        poster=wiring.poster,
        clock=wiring.clock,
    )


def begin(hooks: Hooks, robots: Sequence[str]) -> None:
    """Tell that it begins. Raises OutsideError when a hook stops it: nothing is changed yet."""
    why = hooks.tell(BEFORE_ROLLOUT, robots=list(robots[:MOST_NAMES]), robot_count=len(robots))
    if why:
        raise OutsideError(f"not begun: {why}", hint="nothing was changed; put the hook right and run this again")


def rollout_lock(wiring: Wiring, reason: str) -> RolloutLock:
    """Return the fleet's rollout lock, to be entered."""
    prefix = wiring.desired.registry.prefix
    return RolloutLock(wiring.registry, prefix, wiring.clock, reason=reason, on_junk=lambda line: notice([line]))


def refuse_paused(wiring: Wiring) -> None:
    """Raise RolloutPaused when a rollout waits: what it did so far would be forgotten."""
    paused = pause.find(wiring.registry, wiring.desired.registry.prefix)
    if paused is not None:
        raise paused_error(
            paused.version, paused.next_wave, len(paused.waves), paused.approval, f"{paused.by} paused it"
        )


def _replace_paused(wiring: Wiring, version: str) -> tuple[str, ...]:
    """End a rollout that waits, as this rollback takes its place; a document that is none stops no way back."""
    prefix = wiring.desired.registry.prefix
    try:
        paused = pause.find(wiring.registry, prefix)
    except RegistryError as error:
        said = (f"whether a rollout is paused is not known: {error.message}",)
    else:
        if paused is None:
            return ()
        pause.end(wiring.registry, prefix, paused, f"replaced by a rollback to {version},")
        said = (f"the paused rollout of {paused.version} is given up: this rollback takes its place",)
    notice(said)
    return said


def tell_result(
    release: PublishedRelease,
    result: RolloutResult,
    moved: Sequence[TagMove],
    unwritten: OutsideError | None,
    as_json: bool,
    hooks: Hooks,
    notes: Sequence[str] = (),
) -> None:
    """Tell how it ended: hooks first, then whoever ran the command. Raises what the command ends with.

    A pause that nobody can find later is an error. A hook that failed is a note and in the document.
    """
    ended = result.error() or unwritten
    hooks.ended(result, ended.message if ended else "")
    notice(f"{each.hook} failed {each.event}: {each.why}" for each in hooks.failures)
    document = result_document(release, result, moved) | {"notes": list(notes)}
    document["hook_failures"] = [dataclasses.asdict(each) for each in hooks.failures]
    error = (unwritten or result.error()) if result.paused else (result.error() or unwritten)
    conclude(as_json, document, lambda console: render_result(console, release, result, moved), error)


def write_down(
    wiring: Wiring,
    release: PublishedRelease,
    result: RolloutResult,
    changes: Sequence[RobotChange],
    *,
    kind: str,
    at: float,
    selector: str,
    override: str = "",
) -> tuple[tuple[TagMove, ...], OutsideError | None]:
    """Record the rollout that began ``at`` (Unix seconds) and move the tags.

    What robots did is told even when the registry is gone by now.
    """
    fleet = wiring.desired.fleet
    record = audit.record_of(
        result,
        kind=kind,
        fleet=fleet,
        release_digest=release.digest,
        at=at,
        selector=selector,
        override=override,
    )
    try:
        if result.paused is not None:
            paused = pause.paused_rollout(
                result,
                changes,
                fleet=fleet,
                release_digest=release.digest,
                policy=wiring.desired.rollout,
                selector=selector,
                at=wiring.clock.now(),
            )
            pause.save(wiring.registry, wiring.desired.registry.prefix, paused)
        audit.append(wiring.registry, wiring.desired.registry.prefix, record)
        return _move_tags(wiring, release, result, selector), None
    except RegistryError as error:
        message = f"the rollout is over, but its record and tags could not be written: {error.message}"
        return (), OutsideError(message, hint="run the same command again when the registry is back: it writes them")


def plan_changes(wiring: Wiring, release: PublishedRelease, robots: Sequence[DesiredRobot]) -> tuple[RobotChange, ...]:
    """Look at every robot once and return what changes; exactly this is shown, confirmed and applied."""
    with activity() as shown:
        observed = observe(wiring, robots, shown)
    folders = {robot.name: folder_of(release.document, robot.name) for robot in robots}
    return robot_changes(robots, release.version, release.document.robots, observed, folders)


def confirm(
    wiring: Wiring,
    release: PublishedRelease,
    changes: tuple[RobotChange, ...],
    robots: Sequence[DesiredRobot],
    about: str = "",
    question: str = "Roll out?",
) -> None:
    """Show the plan and ask. Raises PlanOutdated when a robot moved while the question stood: a person takes any time.

    Each robot is held against its plan once more when its turn comes.
    """
    if all(change.action in NO_QUESTION for change in changes):
        return
    if not sys.stdin.isatty():
        raise UsageError(
            f"release {release.version} for {len(changes)} robots ({summary(changes)}), and there is no terminal to "
            "ask on",
            hint="look at fleet plan, then run this again with --yes",
        )
    console = stderr()
    console.print(f"release [bold]{release.version}[/] for {len(changes)} robots{plain(about)}")
    rows = table("", "robot", "detail")
    document = release.document
    after = {
        robot.name: shown_variables(document.environment.get(robot.name, {}), document.secrets.get(robot.name, {}))
        for robot in robots
    }
    add_robots(rows, changes, changed_variables(wiring, changes, after))
    console.print(rows)
    console.print(summary(changes))
    if not typer.confirm(question, err=True):
        raise Declined("not rolled out: you answered no", hint="nothing was changed")
    with activity() as shown:
        moved = changed_since(changes, observe(wiring, robots, shown))
    if moved:
        raise PlanOutdated(
            f"{', '.join(moved[:5])} changed since the plan was shown", hint="run it again and look at the new plan"
        )


def _move_tags(wiring: Wiring, release: PublishedRelease, result: RolloutResult, selector: str) -> tuple[TagMove, ...]:
    """Only a rollout of the whole fleet that succeeded says what is current."""
    if selector or not result.succeeded:
        return ()
    return tuple(move_tags(wiring.registry, wiring.desired.registry.prefix, release))


def show_event(shown: Activity, event: RolloutEvent) -> None:
    """Show what happens on a terminal."""
    wave = f"wave {event.wave} of {event.waves}" if event.wave else ""
    if event.kind == "robot":
        shown.update(event.robot, f"{wave}  {event.robot}  {event.message}")
    elif event.kind == "robot-done":
        text = f"{wave}  {event.robot}  {event.state}  {event.message}".strip()
        shown.done(event.robot, text, state=event.state, well=event.state == Outcome.COMMITTED.value)
    else:
        if event.kind == "wave":
            shown.part(wave, event.robots)
        shown.done("rollout", f"{wave}  {event.message}".strip())


def result_document(release: PublishedRelease, result: RolloutResult, moved: Sequence[TagMove]) -> dict[str, Any]:
    """Return how a rollout ended, or stands, as JSON values."""
    return {
        "fleet": release.document.fleet,
        "version": release.version,
        "release": release.digest,
        "succeeded": result.succeeded,
        "seconds": round(result.seconds, 1),
        "robots": [
            {
                "name": robot.name,
                "outcome": robot.outcome.value,
                "reason": robot.reason or None,
                "wave": robot.wave,
                "seconds": round(robot.seconds, 1),
                "fetched_bytes": robot.fetched_bytes,
            }
            for robot in result.robots
        ],
        "tags": [{"tag": move.tag, "digest": move.after} for move in moved],
        "paused": _paused(result.paused),
    }


def _paused(where: Pause | None) -> dict[str, Any] | None:
    return {"wave": where.wave, "waves": len(where.waves), "approval": where.approval} if where else None


def _groups(result: RolloutResult) -> Table:
    """Return one row for robots that ended alike."""
    rows = table("robots", "outcome", "took at most", "which", "reason")
    for (outcome, _), robots in alike(result.robots, lambda each: (each.outcome, gist(each.reason, each.name))):
        reason = "" if outcome is Outcome.SKIPPED else plain(robots[0].reason)
        took = f"{max(robot.seconds for robot in robots):.1f} s"
        style = STYLES.get(outcome, "red")
        which = plain(names([robot.name for robot in robots]))
        rows.add_row(str(len(robots)), f"[{style}]{outcome.value}[/]", took, which, reason)
    return rows


def _render_robots(console: Console, result: RolloutResult) -> None:
    rows = table("robot", "wave", "outcome", "pulled", "took")
    for robot in result.robots:
        rows.add_row(
            robot.name,
            str(robot.wave or ""),
            f"[{STYLES.get(robot.outcome, 'red')}]{robot.outcome.value}[/]",
            size(robot.fetched_bytes) if robot.fetched_bytes is not None else "",
            f"{robot.seconds:.1f} s",
        )
    console.print(rows)
    remarks(console, {robot.name: robot.reason for robot in result.robots if robot.outcome is not Outcome.SKIPPED})


def render_result(console: Console, release: PublishedRelease, result: RolloutResult, moved: Sequence[TagMove]) -> None:
    """Print how a rollout ended, or stands, for a person."""
    if are_many(len(result.robots)):
        console.print(_groups(result))
    else:
        _render_robots(console, result)
    ended = "is rolled out" if result.succeeded else "reached nobody" if result.nobody_reached else "was stopped"
    ended = "is paused" if result.paused else "is aborted" if result.aborted else ended
    console.print(f"[bold]{release.version}[/] {ended}: {result.summary()}, {result.seconds:.1f} s")
    if moved:
        console.print(f"[dim]tags moved: {', '.join(move.tag.rpartition(':')[2] for move in moved)}[/]")
