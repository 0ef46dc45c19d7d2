"""What a search tries next, from what it knows already. Values alone: the same state gives the same next step.

Fastest first: everything at the low precision; where the gates refuse that, the regions that cost most accuracy for the
least time stay in float, ever more of them until the gates pass, then fewer while they still do. Every step is a fresh
build; how many regions ONNX Runtime thinks are needed is only where that begins.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from runtime.contract.engine.build import BuildOptions, Int8Options
from runtime.contract.engine.tuning import ACCURACY, PASSED, Mix, RankedLine, TuneState, TuneTrial
from runtime.engines.tool.tuning.keep_state import mix_digest

MOST_BUILDS = 6
"""Of one line."""
CLEARLY = 0.98
"""Faster means at most this share of the other's time: less is noise."""

_HARDLY = 1.05
"""Up to this share of the fastest one's time, a refused engine may still become the fastest."""


@dataclass(frozen=True)
class Plan:
    """What may be tried."""

    first: tuple[Mix, ...]
    """Whole precisions, in the order in which they are tried."""
    later: tuple[Mix, ...] = ()
    """More of them, where no whole int8 engine passes: other calibration methods, and what is slower than all else."""
    rankable: frozenset[str] = frozenset()
    """Lines whose nodes can be left in float."""
    levels: tuple[int, ...] = ()
    """For the fastest mix, at the end."""


@dataclass(frozen=True)
class Build:
    """Build and judge a mix."""

    mix: Mix


@dataclass(frozen=True)
class Rank:
    """Find the order of a line's regions."""

    whole: Mix


def next_step(plan: Plan, state: TuneState) -> Build | Rank | None:
    """Return what to do next; None when everything worth it was tried."""
    tried = {mix_digest(trial.mix): trial for trial in state.trials}
    for mix in plan.first:
        if mix_digest(mix) not in tried:
            return Build(mix)
    wholes = [*plan.first, *(mix for mix in plan.later if mix_digest(mix) in tried)]
    if step := _within_lines(plan, state, wholes, tried):
        return step
    if not any(trial.verdict == PASSED and _is_whole_int8(trial.mix) for trial in state.trials):
        for mix in plan.later:
            if mix_digest(mix) not in tried:
                return Build(mix)
    return _next_level(plan, state, tried)


def fastest(state: TuneState) -> TuneTrial | None:
    """Return the trial that passed with the smallest median latency."""
    passed = [trial for trial in state.trials if trial.verdict == PASSED and trial.latency is not None]
    return min(passed, key=lambda trial: trial.latency.p50 if trial.latency else 0.0, default=None)


def _is_whole_int8(mix: Mix) -> bool:
    int8 = mix.options.int8
    return mix.precision == "int8" and mix.regions == 0 and not (int8 and int8.exclude_nodes)


def _within_lines(plan: Plan, state: TuneState, wholes: list[Mix], tried: dict[str, TuneTrial]) -> Build | Rank | None:
    ranked = {each.line: each for each in state.ranked}
    begun = [tried[mix_digest(mix)] for mix in wholes if mix.line in plan.rankable]
    refused = [trial for trial in begun if trial.verdict == ACCURACY]  # the gate that regions in float give back
    for trial in sorted(refused, key=lambda trial: trial.latency.p50 if trial.latency else 0.0):
        if not _could_win(trial, state):
            continue
        line = ranked.get(trial.mix.line)
        if line is None:
            return Rank(trial.mix)
        if (size := next_size(line, state)) is not None:
            return Build(with_regions(trial.mix, line, size))
    return None


def _could_win(trial: TuneTrial, state: TuneState) -> bool:
    """With regions in float a mix takes no less time than without; times of separate builds differ by noise."""
    best = fastest(state)
    if best is None or best.mix.line == trial.mix.line:
        return True
    return trial.latency is not None and best.latency is not None and trial.latency.p50 < best.latency.p50 * _HARDLY


def next_size(line: RankedLine, state: TuneState) -> int | None:
    """Return how many regions to leave in float next; None when the line is done."""
    mine = {trial.mix.regions: trial for trial in state.trials if trial.mix.line == line.line and trial.mix.regions}
    if not line.regions or len(mine) >= MOST_BUILDS:
        return None
    passing = [size for size, trial in mine.items() if trial.verdict == PASSED]
    too_many = [size for size, trial in mine.items() if trial.verdict not in (PASSED, ACCURACY)]
    failing = max((size for size, trial in mine.items() if trial.verdict == ACCURACY), default=0)
    above = min([*passing, *too_many, len(line.regions)])
    if passing or too_many:
        size = (failing + above) // 2
    elif failing == 0:
        size = line.suggested or max(1, len(line.regions) // 8)
    else:
        size = failing * 2
    size = min(size, above - 1)
    return size if size > failing and size not in mine else None


def with_regions(whole: Mix, line: RankedLine, size: int) -> Mix:
    """Return the line's mix with its first ``size`` regions in float; names sorted, so that a set is one mix."""
    nodes = sorted({node for region in line.regions[:size] for node in region.nodes})
    options = whole.options
    if whole.precision == "fp16":
        changed = replace(options, keep_fp32_nodes=_joined(options.keep_fp32_nodes, nodes))
    else:
        int8 = options.int8 or Int8Options()
        changed = replace(options, int8=replace(int8, exclude_nodes=_joined(int8.exclude_nodes, nodes)))
    return replace(whole, options=changed, regions=size)


def _joined(declared: tuple[str, ...], nodes: list[str]) -> tuple[str, ...]:
    return (*declared, *(node for node in nodes if node not in declared))


def _next_level(plan: Plan, state: TuneState, tried: dict[str, TuneTrial]) -> Build | None:
    best = fastest(state)
    if best is None:
        return None
    for level in plan.levels:
        mix = replace(best.mix, options=at_level(best.mix.options, level))
        if mix_digest(mix) not in tried:
            return Build(mix)
    return None


def at_level(options: BuildOptions, level: int) -> BuildOptions:
    """Return the options at another optimization level."""
    return replace(options, optimization_level=level)
