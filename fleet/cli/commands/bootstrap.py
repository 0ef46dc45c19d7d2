"""`fleet bootstrap`: make machines robots, once; again whenever `fleet` is newer than their updater."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console

from fleet.bootstrap.login import builds_here
from fleet.bootstrap.prepare_robot import BootstrapReport, SignedTrust, bootstrap
from fleet.bootstrap.pull_setup import hub_authority, pull_setup
from fleet.bootstrap.registry_access import registry_access
from fleet.bootstrap.updater_package import updater_version, updater_zipapp
from fleet.cli import options
from fleet.cli.desired import by_ssh, pin
from fleet.cli.trust_root import roots_to_bring, updater_to_bring
from fleet.cli.ui.activity import activity
from fleet.cli.ui.console import conclude, note, plain, table
from fleet.cli.ui.robots import each
from fleet.cli.wiring import Wiring
from fleet.errors import FleetError, OutsideError, RobotOffline, RobotsOffline, UsageError
from fleet.resolve.desired import DesiredRobot
from fleet.resolve.inventory import select


def run(
    manifest: options.ManifestOption = options.DEFAULT_MANIFEST,
    robots: options.Robots = None,
    accept_new_host_key: Annotated[
        bool, typer.Option("--accept-new-host-key", help="Pin a host key that changed. Check it at the robot first.")
    ] = False,
    privileged_login: Annotated[
        bool,
        typer.Option(
            "--privileged-login",
            envvar="JETFLEET_PRIVILEGED_LOGIN",
            help="Leave the login in sudo and the group docker: whoever has its key is root at the robot.",
        ),
    ] = False,
    open_loopback: Annotated[
        bool,
        typer.Option(
            "--open-loopback",
            help="Where an Engine asks 127.0.0.1 by TLS: add 127.0.0.0/8 to its insecure-registries and reload it.",
        ),
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Pin each robot's host key, check its host, install the updater and wait until it answers."""
    wiring = Wiring(manifest)
    chosen, away = by_ssh(select(wiring.desired, robots))
    if not chosen:
        raise UsageError("none of these robots has a host: SSH cannot reach them", hint="fleet enroll ROBOT")
    for robot in away:
        note(robot.name, "has no host, so it is not bootstrapped: fleet enroll")
    zipapp, version = updater_zipapp(), updater_version()
    trust = SignedTrust(roots_to_bring(wiring), updater_to_bring(wiring))
    access = registry_access(wiring.desired.registry)
    authority = hub_authority(wiring.desired)
    profiles = wiring.desired.profiles()

    with activity() as shown:

        def one(robot: DesiredRobot) -> BootstrapReport | FleetError:
            try:
                report = bootstrap(
                    robot.address,
                    wiring.desired.fleet,
                    wiring.shells,
                    wiring.clock,
                    zipapp=zipapp,
                    version=version,
                    accept_new_host_key=accept_new_host_key,
                    trust=trust,
                    access=access,
                    privileged_login=privileged_login,
                    open_loopback=open_loopback,
                    pull=pull_setup(wiring.desired, robot, authority),
                    builds=builds_here(robot.address, profiles),
                    on_step=lambda step: shown.update(robot.name, f"{robot.name}: {step}"),
                )
            except FleetError as error:
                shown.done(robot.name, f"{robot.name}: {error.words}")
                return error
            shown.done(robot.name, f"{robot.name}: ready")
            return report

        results = each(wiring, chosen, one, shown, "bootstrap")
    keys = {name: each_.host_key for name, each_ in results.items() if isinstance(each_, BootstrapReport)}
    for name, words in pin(wiring, {name: key for name, key in keys.items() if key}):
        note(name, words)
    document = {"fleet": wiring.desired.fleet, "robots": [_document(name, each_) for name, each_ in results.items()]}
    conclude(as_json, document, lambda console: _render(console, document), _error(list(results.values())))


def _document(name: str, result: BootstrapReport | FleetError) -> dict[str, Any]:
    if isinstance(result, FleetError):
        return {"name": name, "ready": False, "error": result.words, "hint": result.hint}
    return {
        "name": name,
        "ready": True,
        "fingerprint": result.fingerprint,
        "updater": result.updater_version,
        "changed": result.changed,
        "notes": list(result.notes),
        "login": result.login or None,
    }


def _render(console: Console, document: dict[str, Any]) -> None:
    rows = table("robot", "updater", "host key", "remarks")
    for robot in document["robots"]:
        if robot["ready"]:
            still = [f"{robot['login']}: whoever has that login's key is root here"] if robot["login"] else []
            remarks = "; ".join([*robot["notes"], *still, *([] if robot["changed"] else ["nothing to do"])])
            rows.add_row(robot["name"], f"[green]{robot['updater']}[/]", robot["fingerprint"], plain(remarks))
        else:
            rows.add_row(robot["name"], "[red]not ready[/]", "", plain(f"{robot['error']} → {robot['hint']}"))
    console.print(rows)


def _error(results: list[BootstrapReport | FleetError]) -> FleetError | None:
    errors = [result for result in results if isinstance(result, FleetError)]
    if not errors:
        return None
    count = f"{len(errors)} of {len(results)} robots"
    if all(isinstance(error, RobotOffline) for error in errors):
        return RobotsOffline(f"{count} are offline", hint="run it again for them when they are back")
    if len(errors) == 1:
        return errors[0]
    return OutsideError(f"{count} are not ready", hint="correct what is listed above and run it again")
