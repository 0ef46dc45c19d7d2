"""`fleet status`: what each robot attests about itself, against what the manifest declares."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from fleet.cli import options
from fleet.cli.desired import desired_of
from fleet.cli.ui.activity import activity
from fleet.cli.ui.console import conclude, plain, remarks, short, table
from fleet.cli.ui.desired_view import desired_document, desired_in_words
from fleet.cli.ui.robots import observe
from fleet.cli.ui.rows import alike, are_many, gist, names, totals, want_every
from fleet.cli.wiring import Wiring
from fleet.errors import FleetError, OutsideError, RegistryError, RobotsOffline
from fleet.plan.observed import Observed
from fleet.resolve.desired import Desired, DesiredRobot
from fleet.resolve.inventory import select
from fleet.rollout import pause
from fleet.rollout.gate import Outcome
from fleet.rollout.pause import PausedRollout
from fleet.signing.desired import DesiredStanding
from runtime.contract.codec import to_dict
from runtime.contract.node.attestation import Attestation
from runtime.contract.node.health import LEVEL_OK, HealthReport

NO_UPDATER, UNKNOWN = "no updater", "unknown"
MUTE = {NO_UPDATER, UNKNOWN}
"""States of robots that answer, but not to what they were asked."""

STYLES = {"ok": "green", "degraded": "yellow", "unhealthy": "red", "offline": "yellow", "unknown": "red"}


def run(
    manifest: options.ManifestOption = options.DEFAULT_MANIFEST,
    robots: options.Robots = None,
    by_hub: Annotated[
        bool, typer.Option("--hub", help="By the reports that the hub has, for all robots; those that pull always.")
    ] = False,
    every: options.AllRows = False,
    as_json: options.Json = False,
) -> None:
    """Ask every robot what really runs on it, now."""
    want_every(every)
    wiring = Wiring(manifest)
    chosen = select(wiring.desired, robots)
    asking = ThreadPoolExecutor(1, thread_name_prefix="paused")
    waits = asking.submit(_paused, wiring)
    with activity() as shown:
        observed = observe(wiring, chosen, shown, attest=True, all_by_hub=by_hub)
    asking.shutdown()
    paused, unknown = waits.result()
    rows = [robot_document(robot, observed[robot.name]) for robot in chosen]
    document: dict[str, Any] = {"fleet": wiring.desired.fleet, "release": wiring.desired.version, "robots": rows}
    document |= {"paused": _paused_document(paused, wiring.clock.now()), "paused_error": unknown or None}
    standing = _desired(wiring)
    document["desired"] = standing and desired_document(standing)

    def render(console: Console) -> None:
        _render(console, wiring.desired, rows)
        _render_paused(console, paused, unknown, wiring.clock.now())
        if standing is not None:
            console.print(desired_in_words(standing))

    conclude(as_json, document, render, _error(rows))


def _desired(wiring: Wiring) -> DesiredStanding | None:
    """Return what robots that pull are to run; None where no robot pulls. A registry that is away is its problem."""
    try:
        return desired_of(wiring)
    except FleetError as error:
        return DesiredStanding(problem=error.message)


def _paused(wiring: Wiring) -> tuple[PausedRollout | None, str]:
    """Return the rollout that is paused, or why that is not known: robots are told of all the same."""
    try:
        return pause.find(wiring.registry, wiring.desired.registry.prefix), ""
    except RegistryError as error:
        return None, error.message


def _paused_document(paused: PausedRollout | None, now: float) -> dict[str, Any] | None:
    if paused is None:
        return None
    return {
        "version": paused.version,
        "wave": paused.next_wave,
        "waves": len(paused.waves),
        "approval": paused.approval,
        "by": paused.by,
        "at": paused.at,
        "age_s": round(paused.age_s(now), 1),
        "committed": sum(robot.outcome == Outcome.COMMITTED.value for robot in paused.robots),
        "untouched": sum(robot.outcome == Outcome.SKIPPED.value for robot in paused.robots),
    }


def _render_paused(console: Console, paused: PausedRollout | None, unknown: str, now: float) -> None:
    if unknown:
        console.print(f"[yellow]whether a rollout is paused is not known[/]: {plain(unknown)}")
    found = _paused_document(paused, now)
    if paused is None or found is None:
        return
    who = f"for {_age(found['age_s'])} by {plain(paused.by)}"
    console.print(
        f"[yellow]the rollout of {plain(paused.version)} is paused[/] {who}: "
        f"{paused.waits_for()}; {found['committed']} committed, {found['untouched']} untouched"
    )


def _age(seconds: float) -> str:
    """Return ``3 days``, ``2 h``, ``5 min`` or ``40 s``, rounded down."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size or (unit != "days" and seconds >= size):
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def _error(rows: Sequence[dict[str, Any]]) -> FleetError | None:
    """Return exit code 3 when a robot that is there could not be asked, 6 when robots were only offline."""
    mute = [row for row in rows if row["state"] in MUTE]
    if mute:
        return OutsideError(
            f"{len(mute)} of {len(rows)} robots can't be asked: {mute[0]['name']}: {mute[0]['error']}"
            + (f", and {len(mute) - 1} more" if len(mute) > 1 else ""),
            hint=str(mute[0]["hint"] or ""),
        )
    names = [row["name"] for row in rows if row["state"] == "offline"]
    if not names:
        return None
    return RobotsOffline(
        f"{len(names)} of {len(rows)} robots are offline: {', '.join(names[:10])}"
        + (f" and {len(names) - 10} more" if len(names) > 10 else ""),
        hint="they get the release at the next rollout that reaches them",
    )


def robot_document(robot: DesiredRobot, observed: Observed) -> dict[str, Any]:
    """Return one robot's row: what it attests, never what we believe."""
    state, attestation = observed.state, observed.attestation
    report, report_error = _report(attestation)
    current = state.current if state else None
    running = attestation.running_image if attestation else ""
    outcome = state.outcome if state else ""
    pull = observed.pull
    return {
        "name": robot.name,
        "group": robot.group,
        "state": _state(observed),
        "release": current.version if current else None,
        "variant": current.variant if current else None,
        "signed_by": list(state.signed_by) if state else [],
        "unsigned": state.unsigned if state else None,
        "root": state.root_version if state and state.has_root else None,
        "login": (state.login or None) if state else None,
        "newest": (state.newest or None) if state else None,
        "stale": (state.stale or None) if state else None,
        "image_digest": running.rpartition("@")[2] or None,
        "engines": [
            {"model": model.name, "precision": model.precision, "key": model.engine_key}
            for model in (report.models if report else ())
        ],
        "health": report.state if report else "unknown",
        "checks": [
            {"name": check.name, "level": check.level, "message": check.message}
            for check in (report.checks if report else ())
            if check.level != LEVEL_OK
        ],
        "power": to_dict(report.power) if report and report.power else None,
        "outcome": outcome or None,
        "reason": (state.reason if state else "") or None,
        "last_seen": observed.fetched_at or None,
        "link": robot.link,
        "held": (pull.held or pull.problem or None) if pull else None,
        "stage": (pull.stage or None) if pull else None,
        "rollout": (pull.rollout_id or None) if pull else None,
        "error": observed.error or report_error or None,
        "hint": observed.hint or None,
    }


def _state(observed: Observed) -> str:
    if not observed.online:
        return "offline"
    if observed.state:
        return observed.state.state
    return UNKNOWN if observed.has_updater else NO_UPDATER


def _report(attestation: Attestation | None) -> tuple[HealthReport | None, str]:
    if attestation is None:
        return None, ""
    health = attestation.health
    return health.report, health.error if health.answered or attestation.running_image else "nothing runs"


def _render(console: Console, desired: Desired, rows: Sequence[dict[str, Any]]) -> None:
    console.print(f"[bold]{desired.fleet}[/], manifest at {desired.version}, {time.strftime('%H:%M:%S')}")
    if are_many(len(rows)):
        console.print(_groups(rows))
    else:
        _render_robots(console, rows)
    console.print(totals(_standing(row) for row in rows))


def _standing(row: dict[str, Any]) -> str:
    return f"on {row['release']}" if row["release"] and row["state"] != "offline" else row["state"]


def _groups(rows: Sequence[dict[str, Any]]) -> Table:
    """Return one row for robots that are alike."""
    view = table("robots", "state", "release", "health", "which", "remarks")

    def key(row: dict[str, Any]) -> tuple[str, ...]:
        return row["state"], row["release"] or "none", row["health"], gist(_remarks(row), row["name"])

    for (state, release, reported, _), found in alike(rows, key):
        health = "offline" if state == "offline" else reported
        shown = f"[{STYLES.get(health, 'white')}]{health}[/]"
        which = plain(names([row["name"] for row in found]))
        view.add_row(str(len(found)), state, plain(release), shown, which, plain(_remarks(found[0])))
    return view


def _render_robots(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    view = table("robot", "state", "release", "signed by", "health", "engines", "image")
    for row in rows:
        engines = ", ".join(f"{e['model']} {e['precision']} ({short(e['key'])})" for e in row["engines"])
        health = row["health"] if row["state"] != "offline" else "offline"
        view.add_row(
            row["name"],
            row["state"],
            row["release"] or "none",
            _signed(row),
            f"[{STYLES.get(health, 'white')}]{health}[/]",
            engines or "none",
            short(row["image_digest"] or "") or "none",
        )
    console.print(view)
    remarks(console, {row["name"]: _remarks(row) for row in rows})


def _signed(row: dict[str, Any]) -> str:
    """Say who signed for what runs; a robot that takes anything says so, whoever signed."""
    if row["unsigned"] is None:
        return ""
    who = plain(", ".join(row["signed_by"]))
    if row["unsigned"]:
        return f"{who} [yellow](unsigned)[/]" if who else "[yellow]unsigned[/]"
    return who or ("[red]nobody[/]" if row["release"] else "")


def _remarks(row: dict[str, Any]) -> str:
    parts = [row["error"] or ""]
    if row["held"]:
        parts.append(f"held because {row['held']}" if not row["held"].startswith("held") else row["held"])
    if row["unsigned"] is False and row["root"] is None:
        parts.append("no signed trust root yet: fleet bootstrap")
    if row["login"] and row["unsigned"] is False:
        parts.append(f"the login is root there ({row['login']}): see fleet bootstrap --help")
    if row["stale"]:
        parts.append(f"stale: {row['stale']}")
    parts += [f"{check['name']}: {check['message']}" for check in row["checks"]]
    if row["outcome"] not in (None, "committed"):
        parts.append(f"last order {row['outcome']}: {row['reason']}")
    return "; ".join(part for part in parts if part)
