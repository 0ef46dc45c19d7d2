"""`fleet doctor`: everything that is missing on a machine, before it is made a robot."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console

from fleet.bootstrap.examine import Examination, examine
from fleet.bootstrap.host_facts import MIN_PYTHON
from fleet.bootstrap.login import builds_here, look_at_login, why_kept
from fleet.bootstrap.registry_check import check_registry
from fleet.cli import complete, options
from fleet.cli.ui.activity import activity
from fleet.cli.ui.console import conclude, many, plain
from fleet.cli.ui.robots import CONNECT_S, each
from fleet.cli.wiring import Wiring
from fleet.errors import FleetError, NotPinned, OutsideError, RobotError, RobotOffline, RobotsOffline
from fleet.link.host_docker import HostProblem
from fleet.ports import RobotShell
from fleet.resolve.desired import DesiredRobot
from fleet.resolve.inventory import select

NOT_PINNED = "its host key is not pinned yet: fleet bootstrap pins it; until then its answers are not authenticated"


def run(
    robot: Annotated[
        str | None,
        typer.Argument(metavar="ROBOT", help="A robot, or a selector. Default: all.", autocompletion=complete.robot),
    ] = None,
    manifest: options.ManifestOption = options.DEFAULT_MANIFEST,
    privileged_login: Annotated[
        bool,
        typer.Option(
            "--privileged-login",
            envvar="JETFLEET_PRIVILEGED_LOGIN",
            help="The login is to stay root, as with fleet bootstrap --privileged-login.",
        ),
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Say everything that is missing on a robot's host, and the command for each. Changes nothing."""
    wiring = Wiring(manifest)
    chosen = select(wiring.desired, robot)
    with activity() as shown:
        found = each(wiring, chosen, lambda one: _examined(wiring, one, privileged_login), shown, "looking")
    rows = [_document(name, result) for name, result in found.items()]
    document = {"fleet": wiring.desired.fleet, "robots": rows}
    conclude(as_json, document, lambda console: _render(console, rows), _error(rows, list(found.values())))


def _examined(wiring: Wiring, robot: DesiredRobot, privileged: bool) -> Examination | FleetError:
    """Look at one robot; one that cannot be asked is a value too."""
    try:
        shell, note = _connect(wiring, robot)
        try:
            variant = wiring.desired.variants[robot.variant]
            found = examine(robot.name, robot.address.user, shell, wiring.clock, variant.profile, robot.power_mode)
            problems, notes = check_registry(
                robot.name, shell, wiring.desired.registry, as_root=found.host.is_root, trusted=not note
            )
            kept = () if privileged else _kept(wiring, robot, shell, found)
        finally:
            shell.close()
    except FleetError as error:
        return error
    notes = (*([note] if note else []), *found.notes, *notes)
    return Examination(found.host, found.device, (*found.problems, *kept, *problems), notes)


def _kept(wiring: Wiring, robot: DesiredRobot, shell: RobotShell, found: Examination) -> tuple[HostProblem, ...]:
    """Return why a first bootstrap would refuse to take the login's rights away."""
    host = found.host
    if host.updater_version or host.is_root or not host.root or host.python < MIN_PYTHON:
        return ()
    builds = builds_here(robot.address, wiring.desired.profiles())
    problem = why_kept(robot.address, look_at_login(robot.address, shell), builds)
    return (problem,) if problem else ()


def _connect(wiring: Wiring, robot: DesiredRobot) -> tuple[RobotShell, str]:
    """Open a connection; a machine that was never bootstrapped is looked at all the same, and that is said."""
    try:
        return wiring.shells.connect(robot.address, timeout_s=CONNECT_S), ""
    except NotPinned:
        shells = wiring.shells_for_a_look()
        shells.learn_host_key(robot.address, timeout_s=CONNECT_S)
        return shells.connect(robot.address, timeout_s=CONNECT_S), NOT_PINNED


def _document(name: str, result: Examination | FleetError) -> dict[str, Any]:
    if isinstance(result, FleetError):
        words = result.words if isinstance(result, RobotError) else result.message
        return {"name": name, "ready": False, "error": words, "hint": result.hint, "missing": [], "notes": []}
    device = result.device
    return {
        "name": name,
        "ready": not result.problems,
        "missing": [{"what": problem.what, "do": problem.do} for problem in result.problems],
        "notes": list(result.notes),
        "device": {
            "module": device.module,
            "l4t": device.l4t,
            "tensorrt": device.tensorrt,
            "cuda": device.cuda,
            "power_mode": device.mode.name if device.mode else None,
            "sm_count": device.sm_count,
            "cameras": [topic for topic, _ in device.cameras],
        },
        "error": None,
        "hint": None,
    }


def _render(console: Console, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        if row["error"]:
            console.print(f"[bold]{plain(row['name'])}[/]  [red]{plain(row['error'])}[/]\n  → {plain(row['hint'])}")
            continue
        device = row["device"]
        facts = [device["module"] or "no Jetson", f"L4T {device['l4t']}" if device["l4t"] else ""]
        facts += [f"power mode {device['power_mode']}" if device["power_mode"] else ""]
        missing = many(len(row["missing"]), "thing")
        state = "[green]nothing is missing[/]" if row["ready"] else f"[red]{missing} missing[/]"
        console.print(f"[bold]{plain(row['name'])}[/]  {state}  [dim]{plain(', '.join(filter(None, facts)))}[/]")
        for each_ in row["missing"]:
            console.print(f"  {plain(each_['what'])}\n    [dim]→[/] {plain(each_['do'])}")
        for note in row["notes"]:
            console.print(f"  [dim]note: {plain(note)}[/]")


def _error(rows: list[dict[str, Any]], results: list[Examination | FleetError]) -> FleetError | None:
    missing = [row["name"] for row in rows if row["missing"]]
    errors = [result for result in results if isinstance(result, FleetError)]
    offline = [error for error in errors if isinstance(error, RobotOffline)]
    if missing:
        return OutsideError(
            f"something is missing on {many(len(missing), 'robot')}: {', '.join(missing[:5])}",
            hint="do what is shown for each, then run fleet doctor again; then fleet bootstrap",
        )
    if len(errors) > len(offline):
        return next(error for error in errors if not isinstance(error, RobotOffline))
    if offline:
        return RobotsOffline(
            f"{len(offline)} of {many(len(rows), 'robot')} are offline", hint="run it again for them when they are back"
        )
    return None
