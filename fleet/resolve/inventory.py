"""Choose robots: names, globs, labels and groups, as `--robots` takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase

from fleet.errors import UsageError
from fleet.manifest.yaml.explain import did_you_mean
from fleet.resolve.desired import Desired, DesiredRobot

Matcher = Callable[[DesiredRobot], bool]

_FORMS = "names, globs (amr-*), label=value and group:NAME, separated by commas, with ! to leave some out"


def select(desired: Desired, selector: str | None) -> tuple[DesiredRobot, ...]:
    """Return the robots that ``selector`` means, in the manifest's order; all of them for None.

    A robot is chosen when any part matches it and no part with ``!`` does; only parts with ``!`` means all others.
    Raises UsageError for a part that matches no robot, naming what there is: a typo must never mean "nobody".
    """
    if selector is None:
        return desired.robots
    parts = [part.strip() for part in selector.split(",")]
    if not all(part.lstrip("!") for part in parts):
        raise UsageError(f"the selector {selector!r} has an empty part", hint=f"write {_FORMS}")
    wanted = [_matcher(desired, part) for part in parts if not part.startswith("!")]
    unwanted = [_matcher(desired, part[1:].strip()) for part in parts if part.startswith("!")]
    chosen = tuple(
        robot
        for robot in desired.robots
        if (not wanted or any(match(robot) for match in wanted)) and not any(match(robot) for match in unwanted)
    )
    if not chosen:
        raise UsageError(f"the selector {selector!r} leaves no robot", hint="remove a part with !")
    return chosen


def _matcher(desired: Desired, part: str) -> Matcher:
    if part.startswith("group:"):
        return _group(desired, part[len("group:") :])
    if "=" in part:
        return _label(desired, part)
    return _name(desired, part)


def _group(desired: Desired, pattern: str) -> Matcher:
    groups = {robot.group for robot in desired.robots if robot.group is not None}
    if not any(fnmatchcase(group, pattern) for group in groups):
        raise UsageError(f"no robot is in a group {pattern!r}", hint=_hint(pattern, groups, "groups"))
    return lambda robot: robot.group is not None and fnmatchcase(robot.group, pattern)


def _label(desired: Desired, part: str) -> Matcher:
    key, _, pattern = (text.strip() for text in part.partition("="))
    values = {robot.labels[key] for robot in desired.robots if key in robot.labels}
    if not values:
        labels = {label for robot in desired.robots for label in robot.labels}
        raise UsageError(f"no robot has a label {key!r}", hint=_hint(key, labels, "labels"))
    if not any(fnmatchcase(value, pattern) for value in values):
        raise UsageError(f"no robot has {part!r}", hint=_hint(pattern, values, f"values of {key}"))
    return lambda robot: key in robot.labels and fnmatchcase(robot.labels[key], pattern)


def _name(desired: Desired, pattern: str) -> Matcher:
    names = [robot.name for robot in desired.robots]
    if not any(fnmatchcase(name, pattern) for name in names):
        what = "no robot's name matches" if any(char in pattern for char in "*?[") else "no robot is called"
        raise UsageError(f"{what} {pattern!r}", hint=_hint(pattern, names, "robots"))
    return lambda robot: fnmatchcase(robot.name, pattern)


def _hint(name: str, known: Iterable[str], what: str) -> str:
    found = sorted(set(known))
    if not found:
        return f"this fleet has no {what}"
    near = did_you_mean(name, found)
    return near if near.startswith("did you mean") else f"{what}: {near.removeprefix('known: ')}"
