"""Rules of fleet.yaml across its parts: names exist, robots are distinct, every robot has all that it needs."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fleet.manifest.checks.check_dla import why_no_dla
from fleet.manifest.checks.check_fallback import fallback_problems
from fleet.manifest.checks.check_input import feeders
from fleet.manifest.checks.check_power import check_power
from fleet.manifest.draft import Draft
from fleet.manifest.files.named_files import inside, why_no_file
from fleet.manifest.inherit import Effective, Inheritance, environment_of
from fleet.manifest.schema.manifest_schema import Model, ModelUse, Profile, Robot, Settings
from fleet.manifest.templates import TemplateProblem, is_template
from fleet.manifest.yaml.explain import DOCS, did_you_mean
from fleet.manifest.yaml.report import Report, SourceFile
from fleet.manifest.yaml.yaml_text import KeyPath
from runtime.contract.node.ros_settings import ENV_DOMAIN, ENV_RMW

AGE_ARMOR = b"-----BEGIN AGE ENCRYPTED FILE-----"
_RESERVED = ("JETFLEET_", "COMPOSE_", "DOCKER_")
"""Variables of the release folder's ``.env`` that decide which release runs."""


@dataclass(frozen=True)
class _Context:
    draft: Draft
    profiles: Mapping[str, Profile | None]
    models: Mapping[str, Model | None]
    source: SourceFile
    report: Report
    root: Path

    def add(self, path: KeyPath, message: str, hint: str) -> None:
        self.report.add(self.source, path, message, hint)

    def add_once(self, path: KeyPath, message: str, hint: str) -> None:
        """Note what several robots would come to with the same key."""
        if not self.report.has(self.source, path):
            self.add(path, message, hint)


def check_fleet(
    draft: Draft,
    profiles: Mapping[str, Profile | None],
    models: Mapping[str, Model | None],
    source: SourceFile,
    report: Report,
    root: Path,
) -> None:
    """Note what does not fit. Profiles and models that are declared but broken are there, as None.

    ``root``: the folder of fleet.yaml.
    """
    context = _Context(draft, profiles, models, source, report, root)
    _check_settings(context, ("defaults",), draft.defaults)
    for name, group in draft.groups.items():
        _check_settings(context, ("groups", name), group)
    inheritance = Inheritance(draft.defaults, draft.groups)
    seen: set[int] = set()
    keep: list[Effective] = []  # ids stay taken while the objects live
    labels: set[str] = set()
    distinct = _Distinct(context)
    for index, robot in draft.robots.items():
        settings = inheritance.of(robot)
        distinct.check(index, robot, settings.port)
        _check_host(context, index, robot, settings)
        if settings.templates:
            _check_templates(context, index, robot, settings)
        if not robot.model_fields_set <= {"name", "host", "group"}:
            _check_settings(context, ("robots", index), robot)
        if id(settings) not in seen:
            seen.add(id(settings))
            keep.append(settings)
            labels.update(settings.labels)
            _check_effective(context, index, robot, settings)
    _check_rollout(context, labels)


def _check_templates(context: _Context, index: int, robot: Robot, settings: Effective) -> None:
    """Every template has a value on every robot; a problem is told where the template is written, once."""
    for name, value in settings.environment.items():
        if not is_template(value):
            continue
        try:
            environment_of(robot, dataclasses.replace(settings, environment={name: value}))
        except TemplateProblem as error:
            at = next(at for at, level in _levels(context, index, robot) if name in level.environment)
            context.add_once((*at, "environment", name), error.message, error.hint)


def _check_host(context: _Context, index: int, robot: Robot, settings: Effective) -> None:
    """A robot that SSH reaches has an address; one that pulls reports to a hub."""
    if settings.link == "ssh" and not robot.host and not context.report.has(context.source, ("robots", index, "host")):
        context.add(("robots", index, "host"), "host is missing", f"add it; {DOCS}")


class _Distinct:
    """Names and addresses of robots are each used once."""

    def __init__(self, context: _Context) -> None:
        self._context = context
        self._names: dict[str, int] = {}
        self._addresses: dict[tuple[str, int], int] = {}

    def check(self, index: int, robot: Robot, port: int) -> None:
        context = self._context
        if self._names.setdefault(robot.name, index) != index:
            shown, line, _ = context.source.locate(("robots", self._names[robot.name], "name"))
            place = f"line {line}" if shown == context.source.locate(("robots", index))[0] else f"{shown}:{line}"
            hint = f"rename one of them: the other is in {place}"
            context.add(("robots", index, "name"), f"two robots are called {robot.name}", hint)
        if robot.name in context.draft.group_names:
            hint = "rename one of them: both become the suffix of image tags"
            context.add(("robots", index, "name"), f"{robot.name} is also the name of a group", hint)
        if robot.group is not None and robot.group not in context.draft.group_names:
            hint = did_you_mean(robot.group, context.draft.group_names)
            context.add(("robots", index, "group"), f"no group is called {robot.group}", hint)
        if not robot.host:
            return
        address = (robot.host.lower(), port)
        if self._addresses.setdefault(address, index) != index:
            other = context.draft.robots[self._addresses[address]].name
            hint = f"{other} has the same; give every robot an address or a port of its own"
            context.add(("robots", index, "host"), f"{robot.host} port {port} is taken", hint)


def _check_settings(context: _Context, at: KeyPath, settings: Settings) -> None:
    """Names that are written at one level."""
    if settings.profile is not None and settings.profile not in context.profiles and not _unread(context, "profiles"):
        hint = did_you_mean(settings.profile, context.profiles)
        context.add((*at, "profile"), f"no profile is called {settings.profile}", hint)
    seen: dict[str, int] = {}
    for index, use in enumerate(settings.models):
        path = (*at, "models", index, "model")
        if use.model not in context.models and not _unread(context, "models"):
            context.add(path, f"no model is called {use.model}", did_you_mean(use.model, context.models))
        if seen.setdefault(use.model, index) != index:
            context.add(path, f"{use.model} is used twice", f"merge it into models/{seen[use.model]}")
    for key, names in (("environment", settings.environment), ("secrets", settings.secrets)):
        for name in names:
            if name.startswith(_RESERVED):
                context.add((*at, key, name), f"{name} is reserved: jetfleet sets it", "choose another variable")
    _check_secrets(context, at, settings)


def _check_secrets(context: _Context, at: KeyPath, settings: Settings) -> None:
    for name, secret in settings.secrets.items():
        path = (*at, "secrets", name)
        if secret.command is not None and not _words(secret.command):
            context.add((*path, "command"), f"{secret.command!r} is no command line", "close its quotes")
        if secret.age is not None:
            _check_age(context, (*path, "age"), secret.age)


def _check_age(context: _Context, path: KeyPath, name: str) -> None:
    root = context.root
    file = inside(root, root, name)
    if file is None:
        context.add(path, f"{name} is outside of the manifest's folder", "move the file below the folder of fleet.yaml")
    elif why := why_no_file(file):
        context.add(path, f"{file} {why}", "name a file that age encrypted: age -a -R the-robot's-host-key.pub")
    elif not file.read_bytes()[:64].startswith(AGE_ARMOR):
        context.add(path, f"{file} is not age's armored text", "encrypt it with: age --armor")


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return []


def _check_ros(context: _Context, at: KeyPath, settings: Effective) -> None:
    """What is declared under ros is not also a variable of ROS's own."""
    for key, name in (("domain_id", ENV_DOMAIN), ("rmw", ENV_RMW)):
        if getattr(settings.ros, key) is not None and name in settings.environment:
            hint = f"remove {name} from environment, or {key} from ros"
            context.add_once((*at, "ros", key), f"{key} and the variable {name} say the same thing twice", hint)


def _unread(context: _Context, key: str) -> bool:
    """Say whether a file of the list could not be read far enough to know its name: then nothing is unknown."""
    listed = context.draft.profiles if key == "profiles" else context.draft.models
    known = context.profiles if key == "profiles" else context.models
    return len(known) < len(listed)


def _check_effective(context: _Context, index: int, robot: Robot, settings: Effective) -> None:
    """What a robot comes to, for one robot of all that share the same settings."""
    if robot.group is not None and robot.group not in context.draft.groups:
        return  # what its group would give is not known
    at: KeyPath = ("robots", index)
    if settings.profile is None:
        context.add(at, f"{robot.name} has no profile", "set profile on the robot, on its group or in defaults")
    if not settings.models and not _unread(context, "models"):
        context.add(at, f"{robot.name} runs no model", "set models on the robot, on its group or in defaults")
    for name in sorted(settings.secrets.keys() & settings.environment.keys()):
        context.add(at, f"{robot.name} has {name} in environment and in secrets", "take it out of one of them")
    _check_ros(context, at, settings)
    profile = context.profiles.get(settings.profile or "")
    if settings.power_mode is not None and profile is not None and settings.power_mode not in profile.power_modes:
        _check_power_mode(context, index, robot, settings.power_mode, profile)
    elif settings.power_mode is not None and profile is not None:
        _check_sm_count(context, index, robot, settings.power_mode, profile)
    if settings.power is not None and profile is not None:
        at = next(at for at, level in _levels(context, index, robot) if level.power is not None)
        check_power((*at, "power"), settings, profile, context.add_once)
    _check_uses(context, index, robot, settings.models, profile)


def _check_uses(
    context: _Context, index: int, robot: Robot, uses: tuple[ModelUse, ...], profile: Profile | None
) -> None:
    for use in uses:
        _check_use(context, index, robot, use)
        path, written = _written(context, index, robot, use.model, "fallback")
        if written and not context.report.has(context.source, path):
            for problem in fallback_problems(use, context.models, unread=_unread(context, "models")):
                context.add((*path, *problem.at), problem.message, problem.hint)
        if profile is not None and (why := why_no_dla(use, profile, context.models.get(use.model))) is not None:
            context.add_once(_written(context, index, robot, use.model, "dla_core")[0], *why)
    _check_feeders(context, index, robot, uses)


def _check_feeders(context: _Context, index: int, robot: Robot, uses: tuple[ModelUse, ...]) -> None:
    """Models that feed others run on the same robot; a topic has one type on it."""
    running = {use.model for use in uses}
    types: dict[str, tuple[str, str]] = {}
    for use in uses:
        path = _written(context, index, robot, use.model, "model")[0]
        model = context.models.get(use.model)
        if context.report.has(context.source, path) or model is None:
            continue
        for feeding in feeders(model):
            if feeding not in running and feeding in context.models:
                hint = f"add {feeding} to the models of {robot.name}, of its group or of the defaults"
                context.add(path, f"{use.model} takes an output of {feeding}, which {robot.name} does not run", hint)
        for value in model.fed:
            other, kind = types.setdefault(value.topic or "", (use.model, value.type))
            if value.topic is not None and kind != value.type and other != use.model:
                text = f"{use.model} takes {value.topic} as {value.type}, {other} as {kind}"
                context.add(path, text, "a topic has one type: correct topic or type in one of the models' files")


def _check_power_mode(context: _Context, index: int, robot: Robot, mode: str, profile: Profile) -> None:
    path = next(
        (*at, "power_mode") for at, settings in _levels(context, index, robot) if settings.power_mode is not None
    )
    if not context.report.has(context.source, path):
        hint = did_you_mean(mode, profile.power_modes) if profile.power_modes else "remove it: the profile has none"
        context.add(path, f"profile {profile.name} has no power mode {mode}", hint)


def _check_sm_count(context: _Context, index: int, robot: Robot, mode: str, profile: Profile) -> None:
    """An engine for 8 SMs does not belong on a module whose power mode leaves 4."""
    left = profile.sm_count_by_mode.get(mode, profile.sm_count)
    path = next(
        (*at, "power_mode") for at, settings in _levels(context, index, robot) if settings.power_mode is not None
    )
    if left != profile.sm_count and not context.report.has(context.source, path):
        fitting = [name for name, count in profile.sm_count_by_mode.items() if count == profile.sm_count]
        hint = f"choose {', '.join(fitting)}, or give the robot a profile with sm_count: {left}"
        text = f"power mode {mode} leaves {left} SMs, but engines of profile {profile.name} are for {profile.sm_count}"
        context.add(path, text, hint)


def _check_use(context: _Context, index: int, robot: Robot, use: ModelUse) -> None:
    if use.precision is None:
        path, written = _written(context, index, robot, use.model, "model")
        if written and not context.report.has(context.source, path[:-1]):
            hint = "add precision: fp32, fp16 or int8"
            context.add(path[:-1], f"{use.model} has no precision on {robot.name}", hint)
        return
    model = context.models.get(use.model)
    if use.precision == "int8" and model is not None and model.precisions.int8 is None:
        path, _ = _written(context, index, robot, use.model, "precision")
        if not context.report.has(context.source, path):
            hint = f"give {use.model} precisions/int8/calibration in its file, or choose fp16"
            context.add(path, f"{use.model} at int8 without calibration data", hint)


def _levels(context: _Context, index: int, robot: Robot) -> Iterator[tuple[KeyPath, Settings]]:
    """Yield the levels that a robot's settings come from, nearest first."""
    yield ("robots", index), robot
    if robot.group in context.draft.groups:
        yield ("groups", str(robot.group)), context.draft.groups[str(robot.group)]
    yield ("defaults",), context.draft.defaults


def _written(context: _Context, index: int, robot: Robot, model: str, key: str) -> tuple[KeyPath, bool]:
    """Return where ``key`` of the use of ``model`` is written, nearest to the robot."""
    for at, settings in _levels(context, index, robot):
        for number, use in enumerate(settings.models):
            if use.model == model and getattr(use, key) is not None:
                return (*at, "models", number, key), True
    return ("robots", index), False


def _check_rollout(context: _Context, labels: set[str]) -> None:
    rollout = context.draft.rollout
    if rollout is None or rollout.max_unavailable is None or not context.draft.complete:
        return
    label = rollout.max_unavailable.per
    if label not in labels:
        path = ("rollout", "max_unavailable", "per")
        context.add(path, f"no robot has the label {label}", did_you_mean(label, labels))
