"""Which nodes cost an engine its accuracy: a bounded search over what to leave in float. No graphs in here.

What is asked is only ever a measurement: "with these nodes in float, what does the gate say?". So whatever set comes
out as verified was really run, as a whole, on the golden frames.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from runtime.contract.engine.accuracy_gate import relative_limit
from runtime.contract.engine.build import AccuracyGate, OutputAccuracy
from runtime.contract.engine.sensitivity import SensitiveNode

WORST_SEVERITY = 1e9
"""Stands for outputs that are not finite, and for gates that allow nothing."""
MOST_ALONE = 24
"""Nodes tried one by one. A network has hundreds; those with the most local noise come first."""
MOST_TRIALS = 80
MOST_SECONDS = 180.0
_SHARE_ALONE = 0.6
"""Of the time and of the trials, for nodes one by one: the rest finds a set and makes it smaller."""


@dataclass(frozen=True)
class Candidate:
    """A node that the precision changes."""

    node: str
    operator: str
    qsnr_db: float | None
    """Local signal to noise; None where nothing is known of it."""


@dataclass(frozen=True)
class Measurement:
    """What the gate says of one choice."""

    min_cosine: float
    max_abs_error: float
    severity: float
    """Distance from fp32 as a share of what the gate allows."""
    passes: bool


Measure = Callable[[frozenset[str]], Measurement]
"""Nodes left in float (beside the declared ones) → what came of it. Raises EngineError."""


def severity_of(measured: Sequence[OutputAccuracy], gate: AccuracyGate) -> float:
    """Return the largest share of what ``gate`` allows that a measurement uses up; over 1 it fails."""
    shares = [0.0]
    for item in measured:
        shares.append(share_of(1.0 - item.min_cosine, 1.0 - gate.min_cosine))
        if item.relative_error is not None:
            shares.append(share_of(item.relative_error, relative_limit(gate)))
        if gate.max_abs_error is not None:
            shares.append(share_of(item.max_abs_error, gate.max_abs_error))
    return max(shares)


def share_of(used: float, allowed: float) -> float:
    """Return what share of ``allowed`` is used up, at most WORST_SEVERITY."""
    return min(max(used, 0.0) / allowed, WORST_SEVERITY) if allowed > 0.0 else (WORST_SEVERITY if used > 0.0 else 0.0)


class Budget:
    """How many measurements there may still be, in number and time. A trial starts only if the longest so far fits."""

    def __init__(
        self, seconds: float, trials: int = MOST_TRIALS, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.seconds, self.trials, self.used = seconds, trials, 0
        self._clock, self._started, self._longest = clock, clock(), 0.0

    def spent(self) -> float:
        """Return seconds since the start."""
        return self._clock() - self._started

    def room(self, share: float = 1.0) -> bool:
        """Say whether one more trial fits into ``share`` of the budget."""
        return self.used < self.trials * share and self.spent() + self._longest <= self.seconds * share

    def run(self, measure: Measure, nodes: frozenset[str]) -> Measurement:
        """Measure, and count it."""
        before = self._clock()
        outcome = measure(nodes)
        self.used += 1
        self._longest = max(self._longest, self._clock() - before)
        return outcome


@dataclass(frozen=True)
class Found:
    """What a search came to."""

    nodes: tuple[SensitiveNode, ...]
    """The costliest first."""
    keep: tuple[str, ...] = ()
    outcome: Measurement | None = None
    """Of ``keep`` as a whole; None when it was not measured."""
    all_in_float: Measurement | None = None
    alone: int = field(default=0)
    """How many nodes were tried one by one."""

    @property
    def verified(self) -> bool:
        """True when ``keep`` was measured and passes."""
        return self.outcome is not None and self.outcome.passes


def search(candidates: Sequence[Candidate], measure: Measure, budget: Budget, *, most_alone: int = MOST_ALONE) -> Found:
    """Find a small set of nodes that, left in float, lets the gate pass.

    One by one the suspicious nodes are brought to the low precision alone; then the costliest are left in float
    together, ever more of them until the gate passes, and whatever turns out not to be needed is taken back.
    Raises what ``measure`` raises.
    """
    every = frozenset(item.node for item in candidates)
    all_in_float = budget.run(measure, every)
    if not all_in_float.passes:
        return Found((), all_in_float=all_in_float)
    noisy = sorted(candidates, key=_noise)
    alone: dict[str, SensitiveNode] = {}
    for item in noisy[:most_alone]:
        if not budget.room(_SHARE_ALONE):
            break
        alone[item.node] = _alone(item, budget.run(measure, every - {item.node}))
    ranked = sorted(alone.values(), key=lambda node: -node.severity)
    order = [node.node for node in ranked] + [item.node for item in noisy if item.node not in alone]
    keep, outcome = smallest_prefix(order, measure, budget)
    if outcome is not None:
        keep, outcome = pruned(keep, outcome, measure, budget)
    else:  # a guess is better than nothing, and is told to be one
        keep = [node.node for node in ranked if node.severity > 1.0] or [node.node for node in ranked[:3]]
    in_graph_order = tuple(item.node for item in candidates if item.node in keep)
    return Found(tuple(ranked), in_graph_order, outcome, all_in_float, len(alone))


def _noise(item: Candidate) -> tuple[float, str]:
    return (float("inf") if item.qsnr_db is None else item.qsnr_db, item.node)


def _alone(item: Candidate, outcome: Measurement) -> SensitiveNode:
    return SensitiveNode(
        item.node, item.operator, item.qsnr_db, outcome.min_cosine, outcome.max_abs_error, outcome.severity
    )


def smallest_prefix(order: Sequence[str], measure: Measure, budget: Budget) -> tuple[list[str], Measurement | None]:
    """Return the shortest beginning of ``order`` that passes, as far as the budget reaches.

    By doubling, then halving: nodes in float only ever help, but for rounding. The whole of ``order`` is no answer.
    """
    failing, passing, found = 0, len(order), None
    size = 1
    while size < passing and budget.room():
        outcome = budget.run(measure, frozenset(order[:size]))
        if outcome.passes:
            passing, found = size, outcome
        else:
            failing, size = size, size * 2
    while passing - failing > 1 and budget.room():
        middle = (failing + passing) // 2
        outcome = budget.run(measure, frozenset(order[:middle]))
        if outcome.passes:
            passing, found = middle, outcome
        else:
            failing = middle
    return list(order[:passing]), found


def pruned(keep: list[str], outcome: Measurement, measure: Measure, budget: Budget) -> tuple[list[str], Measurement]:
    """Take back nodes that are not needed, the cheapest first."""
    for node in reversed(list(keep)):
        if len(keep) == 1 or not budget.room():
            break
        fewer = [item for item in keep if item != node]
        tried = budget.run(measure, frozenset(fewer))
        if tried.passes:
            keep, outcome = fewer, tried
    return keep, outcome
