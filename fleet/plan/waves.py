"""Which robots are changed in which order: pure arithmetic over the rollout policy."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

from fleet.manifest.schema.manifest_schema import MaxUnavailable, Rollout
from fleet.resolve.desired import DesiredRobot

CANARY_LABEL = "canary"
"""Robots that carry this label (any value but ``false``) come first."""


def waves(robots: Sequence[DesiredRobot], policy: Rollout) -> list[list[DesiredRobot]]:
    """Split ``robots`` into waves: each robot exactly once, no wave empty, labelled canaries first.

    A policy's entries are cumulative: ``(1, "10%", "50%", "100%")`` over 200 robots gives waves of 1, 19, 80 and 100.
    A percentage is of all robots given and rounded up. Robots beyond the last entry form one more wave.
    """
    ordered = sorted(robots, key=lambda robot: robot.labels.get(CANARY_LABEL, "false") == "false")
    ends = [_reach(entry, len(ordered)) for entry in policy.waves] + [len(ordered)]
    result: list[list[DesiredRobot]] = []
    start = 0
    for end in ends:
        if end > start:
            result.append(ordered[start:end])
            start = end
    return result


def batches(wave: Sequence[DesiredRobot], limit: MaxUnavailable | None) -> list[list[DesiredRobot]]:
    """Split one wave so that no batch has more than ``limit.robots`` robots with the same value of the label
    ``limit.per``. A robot without the label shares nothing with others: it is in the first batch.
    """
    if limit is None:
        return [list(wave)] if wave else []
    result: list[list[DesiredRobot]] = []
    seen: Counter[str] = Counter()
    for robot in wave:
        value = robot.labels.get(limit.per)
        index = 0
        if value is not None:
            index = seen[value] // limit.robots
            seen[value] += 1
        while len(result) <= index:
            result.append([])
        result[index].append(robot)
    return result


def _reach(entry: int | str, total: int) -> int:
    """Return how many robots are changed once this entry's wave is over. Exact: 7% of 100 is 7, not 8."""
    if isinstance(entry, str):
        return math.ceil(Fraction(entry.rstrip("%")) * total / 100)
    return min(entry, total)
