"""The plan: from what is declared, what the registry holds and what robots run, to ordered changes. Pure.

A plan is shown, confirmed and applied; `changed_since` and `moved` say which robots changed between the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePosixPath
from types import MappingProxyType

from fleet.plan.observed import Observed
from fleet.plan.registry_facts import RegistryFacts
from fleet.resolve.desired import Desired, DesiredRobot, EngineSpec, Recipe
from runtime.contract.robot.update import RunningRelease


class Action(str, Enum):
    """What a rollout would do with one robot."""

    UPDATE = "update"
    """Runs another variant: fetch and switch."""
    RECORD = "record"
    """Runs exactly this variant already: only the release's number is new, its container is not touched."""
    NONE = "none"
    """Runs this variant under this version."""
    WAIT = "wait"
    """In the middle of a transaction."""
    OFFLINE = "offline"
    BOOTSTRAP = "bootstrap"
    """Reachable, but without an updater, or its host key was never pinned."""
    ERROR = "error"
    """Reachable, but it cannot be asked: another host key, a refused login, an updater that does not answer."""
    UNKNOWN = "unknown"
    """Not asked."""


@dataclass(frozen=True, slots=True)
class RobotChange:
    """One robot: from what to what."""

    robot: str
    action: Action
    from_version: str
    from_variant: str
    to_version: str
    to_variant: str
    reason: str = ""
    hint: str = ""
    """What to do about a robot that could not be asked."""
    fingerprint: str = ""
    """What the robot ran when it was asked; another value at apply time outdates the plan."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything between the manifest and a fleet that runs it."""

    fleet: str
    version: str
    engines_to_build: tuple[EngineSpec, ...]
    engines_present: int
    bases_to_build: tuple[Recipe, ...]
    publish: bool
    """The version is not in the registry yet."""
    images: tuple[str, ...]
    """Variant names that the release has."""
    robots: tuple[RobotChange, ...]

    @property
    def empty(self) -> bool:
        """True when there is nothing to build, publish or change. A robot that was offline may need anything."""
        idle = {Action.NONE, Action.UNKNOWN}
        return not (
            self.engines_to_build
            or self.bases_to_build
            or self.publish
            or any(change.action not in idle for change in self.robots)
        )


def make_plan(
    desired: Desired,
    facts: RegistryFacts,
    observed: Mapping[str, Observed],
    folders: Mapping[str, str] = MappingProxyType({}),
) -> Plan:
    """Compare the three. Robots missing from ``observed`` were not asked and are UNKNOWN.

    ``folders``: as for :func:`robot_changes`.
    """
    missing = facts.missing_engines()
    missing_bases = set(facts.missing_bases())
    return Plan(
        fleet=desired.fleet,
        version=desired.version,
        engines_to_build=tuple(desired.engines[key] for key in missing),
        engines_present=len(facts.engines) - len(missing),
        bases_to_build=tuple(recipe for recipe in runtime_recipes(desired) if recipe.tag in missing_bases),
        publish=facts.release is None,
        images=tuple(desired.variants),
        robots=robot_changes(desired.robots, desired.version, {}, observed, folders),
    )


def runtime_recipes(desired: Desired) -> tuple[Recipe, ...]:
    """Return the distinct runtime base images of the fleet, each once."""
    return tuple({variant.runtime_recipe.tag: variant.runtime_recipe for variant in desired.variants.values()}.values())


def robot_changes(
    robots: Iterable[DesiredRobot],
    version: str,
    variants: Mapping[str, str],
    observed: Mapping[str, Observed],
    folders: Mapping[str, str] = MappingProxyType({}),
) -> tuple[RobotChange, ...]:
    """Say what a rollout of ``version`` would do with each robot. This is the one rule for it: see :func:`_action`.

    ``variants``: robot → variant of that release; a robot that is not in it gets the manifest's. ``folders``: robot →
    name of the release folder that it is to have (image, compose files, environment); one that is not in it is judged
    by its variant alone.
    """
    return tuple(
        robot_change(
            robot.name,
            variants.get(robot.name, robot.variant),
            version,
            observed.get(robot.name),
            folders.get(robot.name, ""),
        )
        for robot in robots
    )


def robot_change(name: str, variant: str, version: str, observed: Observed | None, folder: str = "") -> RobotChange:
    """Say what a rollout of ``version`` would do with one robot that is to run ``variant``."""
    action, reason = _action(variant, version, observed, folder)
    current = observed.state.current if observed is not None and observed.state is not None else None
    return RobotChange(
        robot=name,
        action=action,
        from_version=current.version if current else "",
        from_variant=current.variant if current else "",
        to_version=version,
        to_variant=variant,
        reason=reason,
        hint=observed.hint if observed is not None else "",
        fingerprint=fingerprint(observed),
    )


def fingerprint(observed: Observed | None) -> str:
    """Return what identifies a robot's state for a plan: what runs, and whether it is busy."""
    if observed is None or observed.state is None:
        return ""
    return _fingerprint(observed.state.current)


def _fingerprint(current: RunningRelease | None) -> str:
    return f"{current.release_digest}/{current.image}" if current else "nothing"


def moved(change: RobotChange, current: RunningRelease | None) -> str:
    """Return a sentence when a robot does not run any more what its change was planned from; else empty."""
    if not change.fingerprint or change.fingerprint == _fingerprint(current):
        return ""
    now = f"{current.version} ({current.release_digest[7:19]})" if current else "nothing"
    return f"changed since the plan was made: it ran {change.from_version or 'nothing'} then, and runs {now} now"


def changed_since(changes: Iterable[RobotChange], observed: Mapping[str, Observed]) -> tuple[str, ...]:
    """Return the robots that do not run any more what the changes were planned from."""
    return tuple(
        change.robot
        for change in changes
        if change.fingerprint and change.fingerprint != fingerprint(observed.get(change.robot))
        if observed.get(change.robot) is not None and observed[change.robot].online
    )


def counts(changes: Iterable[RobotChange]) -> dict[str, int]:
    """Return how many robots each action has, for one line of summary."""
    result: dict[str, int] = {}
    for change in changes:
        result[change.action.value] = result.get(change.action.value, 0) + 1
    return result


def _action(variant: str, version: str, observed: Observed | None, folder: str) -> tuple[Action, str]:
    if observed is None:
        return Action.UNKNOWN, "not asked"
    if not observed.online:
        return Action.OFFLINE, observed.error
    if observed.state is None:
        return (Action.BOOTSTRAP if observed.needs_bootstrap else Action.ERROR), observed.error
    if observed.state.state != "idle":
        return Action.WAIT, f"{observed.state.state} {observed.state.progress}".strip()
    current = observed.state.current
    if current is None:
        return Action.UPDATE, "nothing runs yet"
    same_variant = current.variant == variant
    # The folder's name is everything that makes a container what it is, so where it is known it decides.
    if folder and PurePosixPath(current.folder).name != folder:
        return Action.UPDATE, "its environment, base image or compose file changed" if same_variant else ""
    if not folder and not same_variant:
        return Action.UPDATE, ""
    return (Action.NONE, "") if current.version == version else (Action.RECORD, "same engines and configuration")
