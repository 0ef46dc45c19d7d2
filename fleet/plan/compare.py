"""What differs between two versions of a fleet, by robot. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fleet.plan.power_diff import power_changes
from fleet.resolve.desired import Desired
from runtime.contract.robot.power import ENV_POWER
from runtime.contract.robot.release import ReleaseDocument, SecretReference

Engines = Mapping[str, tuple[str, str]]
"""Model → (precision, engine key)."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One version, reduced to what can be compared whether it is published or not."""

    name: str
    robots: Mapping[str, str]
    """Robot → variant."""
    engines: Mapping[str, Engines]
    """Variant → its engines."""
    environment: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Robot → variables of its container; robots without any may be missing."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Robots for which the same thing changes."""

    what: tuple[str, ...]
    """Sentences, ``sign_text fp16 → int8``."""
    robots: tuple[str, ...]


def of_release(release: ReleaseDocument) -> Snapshot:
    """Return the snapshot of a published release."""
    engines = {
        variant.name: {engine.model: (engine.precision, engine.key) for engine in variant.engines}
        for variant in release.variants
    }
    environment = {
        robot: shown_variables(release.environment.get(robot, {}), release.secrets.get(robot, {}))
        for robot in {*release.environment, *release.secrets}
    }
    return Snapshot(release.version, dict(release.robots), engines, environment)


def of_manifest(desired: Desired) -> Snapshot:
    """Return the snapshot of the manifest at hand."""
    engines = {
        variant.name: {engine.model: (engine.precision, engine.key) for engine in variant.engines}
        for variant in desired.variants.values()
    }
    variants = {robot.name: robot.variant for robot in desired.robots}
    environment = {robot.name: shown_variables(robot.environment, robot.secrets) for robot in desired.robots}
    return Snapshot(f"{desired.version} (manifest)", variants, engines, environment)


def shown_variables(environment: Mapping[str, str], secrets: Mapping[str, SecretReference]) -> Mapping[str, str]:
    """Return variables, those among them that robots find by themselves by where."""
    where = {name: f"({each.kind}) {each.value if each.kind != 'age' else '…'}" for name, each in secrets.items()}
    return {**environment, **where} if where else environment


def differences(before: Snapshot, after: Snapshot) -> tuple[Difference, ...]:
    """Return what changes from ``before`` to ``after``, robots with the same change together."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for robot in sorted({*before.robots, *after.robots}):
        what = _change(before, after, robot)
        if what:
            groups.setdefault(what, []).append(robot)
    return tuple(Difference(what, tuple(robots)) for what, robots in groups.items())


def _change(before: Snapshot, after: Snapshot, robot: str) -> tuple[str, ...]:
    old, new = before.robots.get(robot), after.robots.get(robot)
    if old is None:
        return (f"added, {_described(after.engines.get(new or '', {}))}",)
    if new is None:
        return ("removed",)
    changes = _engine_changes(before.engines.get(old, {}), after.engines.get(new, {}))
    if old != new and not changes:
        changes = ("configuration or base image changed, engines are the same",)
    return changes + variable_changes(before.environment.get(robot, {}), after.environment.get(robot, {}))


def variable_changes(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[str, ...]:
    """Return what changes in one robot's variables, ``DOCK hall-1 → hall-2``. Both as `shown_variables` gives them."""
    names = sorted({*old, *new} - {ENV_POWER})
    shown = {name: (old.get(name, "unset"), new.get(name, "unset")) for name in names}
    changes = tuple(f"{name} {before} → {after}" for name, (before, after) in shown.items() if before != after)
    return changes + power_changes(old, new)


def _engine_changes(old: Engines, new: Engines) -> tuple[str, ...]:
    result = []
    for model in sorted({*old, *new}):
        if model not in new:
            result.append(f"{model} removed")
        elif model not in old:
            result.append(f"{model} {new[model][0]} added")
        elif old[model][0] != new[model][0]:
            result.append(f"{model} {old[model][0]} → {new[model][0]}")
        elif old[model][1] != new[model][1]:
            result.append(f"{model} {new[model][0]}: another engine ({old[model][1][7:19]} → {new[model][1][7:19]})")
    return tuple(result)


def _described(engines: Engines) -> str:
    return ", ".join(f"{model} {precision}" for model, (precision, _) in sorted(engines.items()))
