"""In which order to leave a line's regions in float: what each costs in accuracy, and what it gains in time.

Only measured here, in ONNX Runtime; nothing that comes of it is proposed before it was built and judged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import median

from runtime.contract.engine.tuning import RankedLine, Region
from runtime.engines.build.sensitivity import Budget, Measure, Measurement, pruned, smallest_prefix

_SHARE_ALONE = 0.6
"""Of the budget, for regions one by one: the rest looks for how many are needed."""


def rank(
    line: str, regions: Sequence[Region], noise: Mapping[str, float | None], measure: Measure, budget: Budget
) -> RankedLine:
    """Return the order of ``regions``, and how many of them let the gates pass.

    ``noise``: signal to noise of each node in decibels, which chooses what is tried first. Raises what ``measure``
    raises.
    """
    every = frozenset(node for region in regions for node in region.nodes)
    noisy = sorted(regions, key=lambda region: (_noise(region, noise), region.name))
    alone: list[Region] = []
    for region in noisy:
        if not budget.room(_SHARE_ALONE):
            break
        outcome = budget.run(measure, every - frozenset(region.nodes))
        alone.append(replace(region, severity=outcome.severity))
    worth = _worth(regions)
    alone.sort(key=lambda region: (-(region.severity or 0.0) / worth[region.name], region.name))
    seen = {region.name for region in alone}
    order = [*alone, *(region for region in noisy if region.name not in seen)]
    found = _needed(order, measure, budget)
    if found:
        order = [*found, *(region for region in order if region not in found)]
    said = (
        f"{len(alone)} of {len(regions)} regions tried alone, {budget.used} graphs run in {budget.spent():.0f} s; "
        + (f"with {len(found)} in float the gates pass there" if found else "no number was found that passes there")
    )
    return RankedLine(line, tuple(order), len(found), said, budget.spent())


def _noise(region: Region, noise: Mapping[str, float | None]) -> float:
    known = [value for node in region.nodes if (value := noise.get(node)) is not None]
    return min(known, default=float("inf"))


def _worth(regions: Sequence[Region]) -> dict[str, float]:
    """Return what a region gains by the low precision, about 1 for the usual one.

    It grows with the time that the region takes, and is never nothing: conversions around it cost something too.
    """
    times = [region.milliseconds for region in regions if region.milliseconds]
    usual = median(times) if times else 1.0
    return {
        region.name: 0.25 + (usual if region.milliseconds is None else region.milliseconds) / usual
        for region in regions
    }


def _needed(order: Sequence[Region], measure: Measure, budget: Budget) -> list[Region]:
    """Return the regions at the beginning of ``order`` that let the gates pass, without those that are not needed."""
    by_name = {region.name: region for region in order}
    of_regions = _by_regions(by_name, measure)
    names, outcome = smallest_prefix([region.name for region in order], of_regions, budget)
    if outcome is None:
        return []
    # The one that takes most time is given back first, not the one that costs least accuracy.
    slow_last = sorted(names, key=lambda name: by_name[name].milliseconds or 0.0)
    needed, _ = pruned(slow_last, outcome, of_regions, budget)
    return [by_name[name] for name in names if name in needed]


def _by_regions(by_name: Mapping[str, Region], measure: Measure) -> Callable[[frozenset[str]], Measurement]:
    return lambda names: measure(frozenset(node for name in names for node in by_name[name].nodes))
