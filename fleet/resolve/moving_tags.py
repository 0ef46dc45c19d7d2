"""Which variant a moving tag (``current-amr``) stands for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from fleet.errors import ManifestError, Problem
from fleet.resolve.desired import DesiredRobot

MAX_TAG = 128
"""Characters of an OCI tag (distribution specification)."""
MAX_SUFFIX = MAX_TAG - len("rollback-")

Where = Callable[[tuple[str | int, ...]], tuple[str, int]]


def moving_tags(robots: Sequence[DesiredRobot], where: Where) -> dict[str, str]:
    """Return suffix → variant, sorted by suffix.

    A group's name stands for the variant that most of its robots run (the first by name when two are even); every
    other robot of the group gets ``<group>-<robot>``, a robot without group its own name. Raises ManifestError when
    two robots of different variants would get one suffix.
    """
    counts: dict[str, Counter[str]] = {}
    for robot in robots:
        if robot.group is not None:
            counts.setdefault(robot.group, Counter())[robot.variant] += 1
    tags = {group: min(count, key=lambda name: (-count[name], name)) for group, count in counts.items()}
    problems: list[Problem] = []
    for index, robot in enumerate(robots):
        if robot.group is not None and tags[robot.group] == robot.variant:
            continue
        suffix = robot.name if robot.group is None else f"{robot.group}-{robot.name}"
        if len(suffix) > MAX_SUFFIX:
            hint = "shorten the robot's or the group's name"
            message = f"the image tag rollback-{suffix} would be longer than 128 characters"
            problems.append(_problem(where, index, message, hint))
        elif tags.setdefault(suffix, robot.variant) != robot.variant:
            hint = "rename the robot or the group"
            problems.append(_problem(where, index, f"the image tag current-{suffix} would mean two variants", hint))
    if problems:
        raise ManifestError(problems)
    return dict(sorted(tags.items()))


def check_version_tags(version: str, suffixes: Iterable[str], where: Where) -> None:
    """Raise ManifestError when a release's images would have tags that no registry takes."""
    longest = max((f"{version}-{suffix}" for suffix in suffixes), key=len, default=version)
    if max(len(longest), len(version)) > MAX_TAG:
        file, line = where(("version",))
        message = f"the image tag {longest} would be longer than {MAX_TAG} characters ({len(longest)})"
        raise ManifestError([Problem(file, line, "version", message, "shorten the version, or the group's name")])


def _problem(where: Where, index: int, message: str, hint: str) -> Problem:
    file, line = where(("robots", index, "name"))
    return Problem(file, line, f"robots/{index}/name", message, hint)
