"""The manifest's gates against what was measured when an engine was built.

An engine that is in the registry is not built again, so a gate that was tightened since, or a waiver that was taken
back, is held against its report here. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fleet.errors import EngineGateError
from fleet.resolve.desired import EngineSpec
from runtime.contract.engine.accuracy_gate import broken, lost
from runtime.contract.engine.build import EngineReport
from runtime.contract.engine.task_metric import violation


@dataclass(frozen=True, slots=True)
class Violation:
    """One gate that says no, with both numbers."""

    engine: str
    what: str


def violations(spec: EngineSpec, report: EngineReport) -> tuple[Violation, ...]:
    """Return the gates of ``spec`` that its engine does not pass; those that the manifest waives are left out."""
    name = f"{spec.model} {spec.precision} for {spec.profile.name}"
    return tuple(
        Violation(name, what) for what in (*_accuracy(spec, report), *_metric(spec, report), *_latency(spec, report))
    )


def check_gates(specs: Mapping[str, EngineSpec], reports: Mapping[str, EngineReport]) -> None:
    """Raise EngineGateError when an engine does not pass; ``specs`` and ``reports`` by engine key."""
    found = [violation for key, spec in specs.items() for violation in violations(spec, reports[key])]
    if found:
        raise EngineGateError(
            "; ".join(f"{violation.engine}: {violation.what}" for violation in found),
            hint="these engines were built under other gates: change the model, its precision options or its gates",
        )


def _accuracy(spec: EngineSpec, report: EngineReport) -> list[str]:
    if not spec.job.enforce_accuracy:
        return []
    gate = spec.job.accuracy
    sides = [(each, "against fp32") for each in report.accuracy]
    sides += [(each, "against the golden data's expected outputs") for each in report.golden_accuracy]
    result = []
    for each, against in sides:
        result += [f"{what}, {against}" for what in broken(each, gate)]
    return result + lost(report.decoded, gate)


def _metric(spec: EngineSpec, report: EngineReport) -> list[str]:
    gate = spec.job.metric
    if gate is None or gate.limit is None or not spec.job.enforce_accuracy:
        return []
    found = report.metric
    if found is None or (found.name, found.output) != (gate.name, gate.output):
        return [f"its report does not hold {gate.name} of output {gate.output!r}"]
    wrong = violation(found, gate.limit)
    return [wrong] if wrong else []


def _latency(spec: EngineSpec, report: EngineReport) -> list[str]:
    limit = spec.job.max_latency_p99_ms
    if limit is None or report.latency.p99 <= limit:
        return []
    return [f"p99 {report.latency.p99:.1f} ms > {limit:.1f} ms"]
