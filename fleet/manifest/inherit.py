"""defaults < groups < robots: the nearer one wins, models merge by name, labels and environment by key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fleet.manifest.schema.manifest_schema import Link, ModelUse, Power, Robot, Settings, Update
from fleet.manifest.schema.resources_schema import Inhibit, Resources
from fleet.manifest.schema.ros_schema import Ros, merged_ros
from fleet.manifest.schema.secret_schema import RobotSecret
from fleet.manifest.templates import is_template, rendered

_OWN = frozenset(Settings.model_fields)


@dataclass(frozen=True, slots=True)
class Effective:
    """Settings of one robot with everything inherited. Robots without settings of their own share one object."""

    profile: str | None
    user: str | None
    port: int
    port_given: bool
    """False: 22 because nothing else is written."""
    identity_file: str | None
    jump: tuple[str, ...] | None
    labels: Mapping[str, str]
    models: tuple[ModelUse, ...]
    """Enabled ones, sorted by model name."""
    power_mode: str | None
    power: Power | None
    """Whole, from the nearest level that has it."""
    resources: Resources | None
    """The same."""
    update_inhibit: tuple[Inhibit, ...]
    """The same."""
    update: Update | None
    """The same."""
    link: Link
    ros: Ros
    environment: Mapping[str, str]
    secrets: Mapping[str, RobotSecret]
    variables: Mapping[str, str]
    templates: bool
    """A value of the environment is a template: it may differ between robots that share these settings."""


def environment_of(robot: Robot, settings: Effective) -> Mapping[str, str]:
    """Return a robot's variables, rendered for it. Raises TemplateProblem."""
    if not settings.templates:
        return settings.environment
    facts = {"name": robot.name, "host": robot.host, "group": robot.group or "", "profile": settings.profile or ""}
    return rendered(settings.environment, robot=facts, labels=settings.labels, variables=settings.variables)


class Inheritance:
    """Merges once for each group, and again only for robots that set something themselves."""

    def __init__(self, defaults: Settings, groups: Mapping[str, Settings]) -> None:
        self._defaults = defaults
        self._groups = groups
        self._shared: dict[str | None, Effective] = {}

    def of(self, robot: Robot) -> Effective:
        """Return the robot's settings. An unknown group gives nothing."""
        if not _OWN.isdisjoint(robot.model_fields_set):
            return _effective([self._defaults, *self._group(robot.group), robot])
        shared = self._shared.get(robot.group)
        if shared is None:
            shared = self._shared[robot.group] = _effective([self._defaults, *self._group(robot.group)])
        return shared

    def _group(self, name: str | None) -> list[Settings]:
        return [self._groups[name]] if name is not None and name in self._groups else []


def merge_models(*levels: tuple[ModelUse, ...]) -> tuple[ModelUse, ...]:
    """Merge uses of models, later levels nearer to the robot; a key that a level does not write is inherited.

    Returns those that stay enabled, sorted by model name.
    """
    merged: dict[str, ModelUse] = {}
    for level in levels:
        for use in level:
            before = merged.get(use.model)
            if before is None:
                merged[use.model] = use
            else:
                written = {key: getattr(use, key) for key in use.model_fields_set if getattr(use, key) is not None}
                merged[use.model] = before.model_copy(update=written)
    return tuple(merged[name] for name in sorted(merged) if merged[name].enabled)


def _effective(levels: list[Settings]) -> Effective:
    def nearest(key: str) -> str | None:
        return next((value for level in reversed(levels) if (value := getattr(level, key)) is not None), None)

    environment = {key: value for level in levels for key, value in level.environment.items()}
    ports = [level.port for level in levels if level.port is not None]
    return Effective(
        profile=nearest("profile"),
        user=nearest("user"),
        port=ports[-1] if ports else 22,
        port_given=bool(ports),
        identity_file=nearest("identity_file"),
        jump=next((level.jump for level in reversed(levels) if level.jump is not None), None),
        labels={key: value for level in levels for key, value in level.labels.items()},
        models=merge_models(*(level.models for level in levels)),
        power_mode=nearest("power_mode"),
        power=next((level.power for level in reversed(levels) if level.power is not None), None),
        resources=next((level.resources for level in reversed(levels) if level.resources is not None), None),
        update_inhibit=next(
            (level.update_inhibit for level in reversed(levels) if level.update_inhibit is not None), ()
        ),
        update=next((level.update for level in reversed(levels) if level.update is not None), None),
        link=next((level.link for level in reversed(levels) if level.link is not None), "ssh"),
        ros=merged_ros([level.ros for level in levels if level.ros is not None]),
        environment=environment,
        variables={key: value for level in levels for key, value in level.variables.items()},
        templates=any(is_template(value) for value in environment.values()),
        secrets={key: value for level in levels for key, value in level.secrets.items()},
    )
