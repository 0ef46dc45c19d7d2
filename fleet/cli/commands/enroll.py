"""`fleet enroll`: make machines robots without SSH, and say which host keys belong to the fleet."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from fleet.bootstrap.enrolment import Enrolment, bundle
from fleet.bootstrap.pull_setup import hub_authority, pull_setup
from fleet.bootstrap.registry_access import registry_access
from fleet.bootstrap.updater_package import updater_version, updater_zipapp
from fleet.cli import complete, options
from fleet.cli.desired import office
from fleet.cli.rollout_flow import Declined
from fleet.cli.trust_root import roots_to_bring, updater_to_bring
from fleet.cli.ui.console import conclude, emit, plain, stderr, table
from fleet.cli.wiring import Wiring
from fleet.errors import FleetError, NotSigned, UsageError
from fleet.ports import WaitingRobot
from fleet.resolve.desired import DesiredRobot
from fleet.signing.intent import at
from fleet.signing.pins import (
    PinsStanding,
    fingerprint_of,
    plain_key,
    publish_pins,
    read_pins,
    with_key,
    without,
    words_for,
)

ACTIONS = ("accept", "list", "retire", "bundle")


def run(
    what: Annotated[
        str,
        typer.Argument(
            help="A robot's name: write its bundle. Or: list, accept ROBOT, retire ROBOT, bundle ROBOT.",
            autocompletion=complete.robots,
        ),
    ],
    robot: Annotated[str | None, typer.Argument(help="The robot.", autocompletion=complete.robots)] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The bundle's file. Default: ROBOT.enroll.py.")
    ] = None,
    fingerprint: Annotated[
        str | None,
        typer.Option(help="Of the host key to accept, as the robot's console shows it: SHA256:…"),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(help="The public host key itself, or a file with it: for a robot that the hub has not seen yet."),
    ] = None,
    manifest: options.ManifestOption = options.DEFAULT_MANIFEST,
    as_json: options.Json = False,
) -> None:
    """Write a bundle that makes a machine a robot without SSH; accept, list and retire robots by their host keys."""
    wiring = Wiring(manifest)
    action, name = (what, robot) if what in ACTIONS else ("bundle", what)
    if what not in ACTIONS and robot is not None:
        raise UsageError(f"fleet enroll knows no {what}", hint=f"write one of: {', '.join(ACTIONS)}, or a robot's name")
    if action == "list":
        return _list(wiring, as_json)
    if name is None:
        raise UsageError(f"which robot? fleet enroll {action} ROBOT", hint="fleet enroll list shows who waits")
    if action == "bundle":
        return _bundle(wiring, name, output, as_json)
    if action == "accept":
        return _accept(wiring, name, fingerprint, key, as_json)
    return _retire(wiring, name, as_json)


# ── the bundle ──


def _bundle(wiring: Wiring, name: str, output: Path | None, as_json: bool) -> None:
    robot, desired = _robot(wiring, name), wiring.desired
    if desired.hub is None:
        raise UsageError(
            f"{name} would report to no hub, so it could not be accepted", hint="name one: hub: {url: https://…}"
        )
    if robot.link != "pull":
        raise UsageError(f"{name} is reached by SSH", hint="write link: pull for it, or run fleet bootstrap")
    path = output or Path(f"{name}.enroll.py")
    content = bundle(
        Enrolment(
            robot=name,
            fleet=desired.fleet,
            zipapp=updater_zipapp(),
            version=updater_version(),
            roots=roots_to_bring(wiring),
            updater=updater_to_bring(wiring),
            access=registry_access(desired.registry),
            pull=pull_setup(desired, robot, hub_authority(desired)),
        ),
        path.name,
    )
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(content)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror or error}", hint="give another: -o FILE"
        ) from error
    secret = desired.registry.robots is not None and desired.registry.robots.password is not None
    kept = " It holds the registry's password for robots." if secret else ""
    text = f"{path}: run it once at the machine that becomes {name}: sudo python3 {path.name}.{kept}"
    document = {"robot": name, "bundle": str(path), "secret": secret}
    emit(as_json, document, lambda console: console.print(plain(text)))


def _robot(wiring: Wiring, name: str) -> DesiredRobot:
    try:
        return wiring.desired.robot(name)
    except KeyError:
        raise UsageError(f"no robot is called {name}", hint="add it to the manifest first") from None


# ── host keys ──


def _accept(wiring: Wiring, name: str, fingerprint: str | None, key: str | None, as_json: bool) -> None:
    _robot(wiring, name)
    standing = read_pins(office(wiring))
    chosen = _given(key) if key is not None else _waiting_key(wiring, name, fingerprint)
    found = fingerprint_of(chosen)
    if fingerprint is not None and found != fingerprint:
        raise NotSigned(
            f"{name} shows the host key {found}, expected is {fingerprint[:80]}",
            hint="look at the robot's console; whoever has its name and not its key is another machine",
        )
    before = standing.pins.robots.get(name)
    if fingerprint is None and key is None:
        _ask(name, found, None if before is None else fingerprint_of(before))
    pins = with_key(standing.pins, name, chosen, wiring.clock.now())
    _publish(wiring, standing, pins, {"robot": name, "fingerprint": found}, f"{name} is pinned: {found}", as_json)


def _given(key: str) -> str:
    path = Path(key)
    try:
        return plain_key(path.read_text(encoding="utf-8", errors="replace") if path.is_file() else key)
    except OSError as error:
        raise UsageError(f"{key[:80]} cannot be read: {error.strerror or error}", hint="give its text") from error


def _waiting_key(wiring: Wiring, name: str, fingerprint: str | None) -> str:
    """Return the key under which a robot waits at the hub, held against its fingerprint."""
    waiting = [each for each in _waiting(wiring) if each.robot == name and each.key]
    if fingerprint is not None:
        waiting = [each for each in waiting if each.fingerprint == fingerprint]
    if not waiting:
        said = f" with the host key {fingerprint[:80]}" if fingerprint else ""
        raise UsageError(
            f"the hub has seen no {name}{said} that waits",
            hint="run the bundle at the machine; or give its key: --key ssh_host_ed25519_key.pub",
        )
    if len(waiting) > 1:
        shown = ", ".join(each.fingerprint for each in waiting)
        raise UsageError(f"{len(waiting)} machines say that they are {name}: {shown}", hint="give --fingerprint")
    key = plain_key(waiting[0].key)
    if fingerprint_of(key) != waiting[0].fingerprint:
        raise UsageError(f"the hub shows another key than its fingerprint for {name}", hint="look at the hub")
    return key


def _ask(name: str, found: str, before: str | None) -> None:
    """Have a person hold the fingerprint against the robot's console. Raises UsageError, Declined."""
    if not sys.stdin.isatty():
        raise UsageError(
            f"{name} waits with the host key {found}, and there is no terminal to ask at",
            hint=f"compare it at the robot, then: fleet enroll accept {name} --fingerprint {found}",
        )
    instead = f" in place of {before}" if before else ""
    if not typer.confirm(f"{name} shows the host key {found}{instead}. Does its console show the same?", err=True):
        raise Declined("not accepted: you answered no", hint="nothing was changed")


def _retire(wiring: Wiring, name: str, as_json: bool) -> None:
    standing = read_pins(office(wiring))
    pins = without(standing.pins, name, wiring.clock.now())
    text = f"{name} is retired: its reports count no more. Take it out of the manifest, too"
    _publish(wiring, standing, pins, {"robot": name, "retired": True}, text, as_json)


def _publish(
    wiring: Wiring, standing: PinsStanding, pins: Any, document: dict[str, Any], text: str, as_json: bool
) -> None:
    error: FleetError | None = None
    document["changed"] = pins != standing.pins
    if pins != standing.pins:
        done = publish_pins(office(wiring), words_for(standing, pins), wiring.desired.trust.sign_with)
        document["missing"] = done.missing or None
        if done.missing:
            error = NotSigned(f"the pins are {done.missing}", hint="further signers run the same command")
    conclude(as_json, document, lambda console: console.print(plain(text)), error)


# ── who is there ──


def _waiting(wiring: Wiring) -> tuple[WaitingRobot, ...]:
    hub = wiring.hub
    if hub is None:
        raise UsageError("the manifest names no hub", hint="name one: hub: {url: https://hub.example:8443}")
    return hub.waiting()


def _list(wiring: Wiring, as_json: bool) -> None:
    standing = read_pins(office(wiring))
    waiting = _waiting(wiring)
    pins = standing.pins
    document = {
        "fleet": wiring.desired.fleet,
        "pinned": [{"robot": name, "fingerprint": fingerprint_of(pins.robots[name])} for name in sorted(pins.robots)],
        "retired": list(pins.retired),
        "waiting": [
            {
                "robot": each.robot,
                "fingerprint": each.fingerprint,
                "first_seen_at": each.first_seen_at,
                "pinned": each.pinned,
            }
            for each in waiting
        ],
        "missing": standing.missing or None,
    }
    if standing.problem and pins.generation == 0 and standing.problem != "no robot is pinned yet":
        stderr().print(plain(f"the pins in the registry do not count: {standing.problem}"))
    if standing.missing:
        stderr().print(plain(f"newer pins wait for signers: {standing.missing}"))
    emit(as_json, document, lambda console: _render(console, document))


def _render(console: Console, document: dict[str, Any]) -> None:
    rows = table("robot", "state", "host key", "remarks")
    for each in document["waiting"]:
        other = f"; pinned is {each['pinned']}: reinstalled, or another machine" if each["pinned"] else ""
        rows.add_row(
            plain(each["robot"]),
            "[yellow]waiting[/]",
            plain(each["fingerprint"]),
            plain(f"since {at(each['first_seen_at'])}{other}"),
        )
    for each in document["pinned"]:
        rows.add_row(plain(each["robot"]), "[green]pinned[/]", plain(each["fingerprint"]), "")
    for name in document["retired"]:
        rows.add_row(plain(name), "retired", "", "its reports count no more")
    console.print(rows)
