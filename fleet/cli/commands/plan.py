"""`fleet plan`: what would be built, published and changed. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from fleet.cli import options
from fleet.cli.commands.publish import compose_files
from fleet.cli.provenance import builders_of, unproven_lines
from fleet.cli.ui.activity import activity
from fleet.cli.ui.console import emit, many, notice, plain, short, table
from fleet.cli.ui.robots import observe
from fleet.cli.wiring import Wiring
from fleet.errors import RegistryError
from fleet.oci.releases import variables_of
from fleet.plan.compare import shown_variables, variable_changes
from fleet.plan.diff import Action, Plan, RobotChange, counts, make_plan
from fleet.plan.observed import Observed
from fleet.plan.registry_facts import RegistryFacts
from fleet.publish.lookup import look_up
from fleet.publish.publish import compose_names
from fleet.resolve.inventory import select
from runtime.contract.robot.update import release_folder_name

#: Robots shown one by one; of more, only those with something to do.
SHOWN = 40


def run(
    manifest: options.ManifestOption = options.DEFAULT_MANIFEST,
    robots: options.Robots = None,
    no_robots: Annotated[bool, typer.Option("--no-robots", help="Ask the registry only.")] = False,
    as_json: options.Json = False,
) -> None:
    """Show what is missing for the fleet to run what the manifest declares."""
    wiring = Wiring(manifest)
    chosen = () if no_robots else select(wiring.desired, robots)
    with activity() as shown:
        shown.update("registry", f"asking {wiring.desired.registry.host}")
        facts = look_up(wiring.registry, wiring.desired, builders_of(wiring))
        observed = observe(wiring, chosen, shown)
        plan = make_plan(wiring.desired, facts, observed, _folders(wiring, observed))
        environments = {robot.name: robot.environment for robot in chosen}
        after = {robot.name: shown_variables(robot.environment, robot.secrets) for robot in chosen}
        values = changed_variables(wiring, plan.robots, after)
    notice(f"{line}: it will be built again" for line in unproven_lines(wiring.desired, facts))
    told = document(plan, environments, values) | _unproven(facts)
    emit(as_json, told, lambda console: render(console, plan, values))


def _unproven(facts: RegistryFacts) -> dict[str, Any]:
    return {"unproven": dict(facts.unproven)} if facts.unproven else {}


def _folders(wiring: Wiring, observed: Mapping[str, Observed]) -> dict[str, str]:
    """Return the release folder that each robot with the right variant is to have, as far as it is known here."""
    folders: dict[str, str] = {}
    files = compose_files(wiring)
    for robot in wiring.desired.robots:
        look = observed.get(robot.name)
        current = look.state.current if look is not None and look.state is not None else None
        if current is not None and current.variant == robot.variant:
            names = compose_names(wiring.desired.variants[robot.variant].profile)
            compose = {name: files[name] for name in names}
            folders[robot.name] = release_folder_name(current.image, compose, dict(robot.environment), robot.secrets)
    return folders


def changed_variables(
    wiring: Wiring, changes: Sequence[RobotChange], after: Mapping[str, Mapping[str, str]]
) -> dict[str, tuple[str, ...]]:
    """Return what changes in the variables of robots that are to be updated: robot → sentences.

    ``after``: robot → its variables as they are shown. What a robot has now is read in the release that it says it
    runs; a release that cannot be read is said, and shows nothing.
    """
    running: dict[str, list[str]] = {}
    for change in changes:
        if change.action is Action.UPDATE and change.from_version and change.robot in after:
            running.setdefault(change.from_version, []).append(change.robot)
    found: dict[str, tuple[str, ...]] = {}
    for version, names in sorted(running.items()):
        try:
            parts = variables_of(wiring.registry, wiring.desired.registry.prefix, version, names)
        except RegistryError as error:
            notice([f"which variables change is not known: {error.message}"])
            continue
        if not parts:
            gone = f"release {version}, which robots run, is not in the registry"
            notice([f"which variables change is not known: {gone}"])
        for name, part in parts.items():
            if what := variable_changes(shown_variables(part.environment, part.secrets), after[name]):
                found[name] = what
    return found


def document(
    plan: Plan, environments: Mapping[str, Mapping[str, str]], values: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """Return a plan as JSON values. ``environments``: robot → its variables, rendered; ``values``: what changes."""
    return {
        "fleet": plan.fleet,
        "version": plan.version,
        "empty": plan.empty,
        "engines_to_build": [
            {"model": spec.model, "precision": spec.precision, "profile": spec.profile.name, "key": spec.key}
            for spec in plan.engines_to_build
        ],
        "engines_present": plan.engines_present,
        "images_to_build": [recipe.tag for recipe in plan.bases_to_build],
        "publish": plan.publish,
        "robots": [
            {
                "name": change.robot,
                "action": change.action.value,
                "from": {"version": change.from_version, "variant": change.from_variant},
                "to": {"version": change.to_version, "variant": change.to_variant},
                "reason": change.reason,
                "environment": dict(environments.get(change.robot, {})),
                "variables": list(values.get(change.robot, ())),
            }
            for change in plan.robots
        ],
    }


def render(console: Console, plan: Plan, values: Mapping[str, Sequence[str]]) -> None:
    """Print a plan for a person. ``values``: robot → what changes in its variables."""
    console.print(f"[bold]{plan.fleet} {plan.version}[/]")
    if plan.empty:
        console.print("Nothing to do: everything is built and published, and every robot asked runs it.")
        return
    rows = table("", "what", "detail")
    for spec in plan.engines_to_build:
        rows.add_row(
            "[green]build[/]", f"engine {spec.model} {spec.precision}", f"{spec.profile.name}, {short(spec.key)}"
        )
    if plan.engines_present:
        rows.add_row("[dim]keep[/]", f"{plan.engines_present} engines", "in the registry already")
    for recipe in plan.bases_to_build:
        rows.add_row("[green]build[/]", "runtime base image", recipe.tag)
    if plan.publish:
        rows.add_row(
            "[green]publish[/]",
            f"release {plan.version}",
            f"{many(len(plan.images), 'image')}: {', '.join(plan.images)}",
        )
    add_robots(rows, plan.robots, values)
    console.print(rows)
    console.print(summary(plan.robots))


def add_robots(rows: Table, changes: tuple[RobotChange, ...], values: Mapping[str, Sequence[str]]) -> None:
    """Add a row for each robot; of a large fleet only for those with something to do."""
    for change in _shown(changes):
        detail = "; ".join([_detail(change), *values.get(change.robot, ())])
        rows.add_row(_styled(change.action), change.robot, plain(detail))


def summary(changes: tuple[RobotChange, ...]) -> str:
    """Return ``2 × update, 1 × offline``."""
    return ", ".join(f"{count} × {action}" for action, count in counts(changes).items())


def _shown(changes: tuple[RobotChange, ...]) -> tuple[RobotChange, ...]:
    if len(changes) <= SHOWN:
        return changes
    busy = [change for change in changes if change.action not in (Action.NONE, Action.UNKNOWN)]
    return tuple(busy[:SHOWN])


def _styled(action: Action) -> str:
    style = {Action.UPDATE: "green", Action.NONE: "dim", Action.UNKNOWN: "dim", Action.RECORD: "cyan"}
    return f"[{style.get(action, 'yellow')}]{action.value}[/]"


def _detail(change: RobotChange) -> str:
    if change.action is Action.UPDATE:
        origin = f"{change.from_version} {change.from_variant}".strip() or "nothing"
        why = f", {change.reason}" if change.from_variant == change.to_variant else ""
        return f"{origin} → {change.to_version} {change.to_variant}{why}"
    if change.action is Action.RECORD:
        return f"{change.from_version} → {change.to_version}, {change.reason}: its container stays"
    return change.reason
