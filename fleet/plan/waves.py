"""Which robots are changed in which order: pure arithmetic over the rollout policy."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass
from fractions import Fraction

from fleet.manifest.schema.manifest_schema import MaxUnavailable, Rollout
from fleet.resolve.desired import DesiredRobot

CANARY_LABEL = "canary"
"""Robots that carry this label (any value but ``false``) come first."""


@dataclass(frozen=True, slots=True)
class PlannedWave:
    """Robots that are changed side by side."""

    robots: tuple[DesiredRobot, ...]
    approve: bool = False
    """The rollout waits before it until somebody says why it may go on."""
    records: bool = False
    """Its robots' containers stay as they are: they learn the release's number."""


def plan_waves(robots: Sequence[DesiredRobot], stays: Container[str], policy: Rollout) -> list[PlannedWave]:
    """Return waves over the robots that really change, then one of those whose container stays (named in ``stays``):
    a canary that changes nothing would prove nothing, and nobody needs to approve what changes nothing."""
    recording = tuple(robot for robot in robots if robot.name in stays)
    planned = waves([robot for robot in robots if robot.name not in stays], policy)
    return planned + ([PlannedWave(recording, records=True)] if recording else [])


def waves(robots: Sequence[DesiredRobot], policy: Rollout) -> list[PlannedWave]:
    """Split ``robots`` into waves: each robot exactly once, no wave empty, labelled canaries first.

    A policy's entries are cumulative: ``(1, "10%", "50%", "100%")`` over 200 robots gives waves of 1, 19, 80 and 100.
    A percentage is of all robots given and rounded up. Robots beyond the last entry form one more wave. The approval of
    an entry that adds no robot holds for the next wave that has any: a small fleet must not lose it by rounding.
    """
    ordered = sorted(robots, key=lambda robot: robot.labels.get(CANARY_LABEL, "false") == "false")
    result: list[PlannedWave] = []
    start, approve = 0, False
    for entry in policy.waves:
        approve = approve or entry.approve
        end = _reach(entry.to, len(ordered))
        if end > start:
            result.append(PlannedWave(tuple(ordered[start:end]), approve))
            start, approve = end, False
    if start < len(ordered):
        result.append(PlannedWave(tuple(ordered[start:]), approve))
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
