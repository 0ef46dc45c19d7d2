"""A HealthReport as Prometheus metrics: base units, `_total` for counters, and a bounded number of series.

Labels take their values from the configuration and the machine; of more than ``MAX_VALUES`` in one metric the rest is
left out and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import TypeVar

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from runtime.contract.node.health import DEGRADED, OK, UNHEALTHY, HealthReport, ModelHealth
from runtime.health.http.metric_tables import (
    LABELLED,
    MACHINE,
    MODEL_COUNTERS,
    MODEL_GAUGES,
    MODEL_QUANTILES,
    REPORT,
    Number,
    Quantiles,
)
from runtime.health.process.supervisor import CRASH_LOOP, RESTARTING, RUNNING, STARTING, STOPPED
from runtime.power.metrics import power_metrics

PREFIX = "jetfleet_"
MAX_VALUES = 64
"""Of one label in one metric."""
MAX_LABEL = 128
"""Characters of a label's value."""

T = TypeVar("T")
_HEALTH = (OK, DEGRADED, UNHEALTHY)
_EXECUTOR = (STARTING, RUNNING, RESTARTING, CRASH_LOOP, STOPPED)
_LIFECYCLE = ("unconfigured", "inactive", "active", "finalized", "unknown")
_COMMAND = ("drive", "hold", "stopped", "held")
_MODEL = ("loading", "inactive", "active", "failed")


class ReportCollector(Collector):
    """Reads the newest report when Prometheus asks."""

    def __init__(self, newest: Callable[[], HealthReport]) -> None:
        self._newest = newest
        self._dropped = 0

    def collect(self) -> Iterable[Metric]:
        """Yield every metric family once."""
        report = self._newest()
        yield from self._robot(report)
        yield from self._models(report.models)
        yield from power_metrics(report.power)
        for machine_name, text, of_machine in MACHINE:
            yield from _gauge(machine_name, text, of_machine(report.system))
        for name, text, label, values in LABELLED:
            yield self._labelled(name, text, label, values(report))
        events = report.system.overcurrent_events
        yield self._labelled("overcurrent_events", "Since boot.", "event", events, CounterMetricFamily)
        yield _counter("dropped_series", "Series omitted by the cap, counted at each scrape.", self._dropped)

    def _robot(self, report: HealthReport) -> Iterator[Metric]:
        executor = report.executor
        info = GaugeMetricFamily(PREFIX + "info", "Versions; always 1.", labels=["robot", "release", "image"])
        info.add_metric([report.robot, report.release, report.image], 1)
        yield info
        for name, text, of_report in REPORT:
            yield from _gauge(name, text, of_report(report))
        for name, states, now in (
            ("health_state", _HEALTH, report.state),
            ("executor_state", _EXECUTOR, executor.state),
            ("executor_lifecycle", _LIFECYCLE, executor.lifecycle),
        ):
            values = {state: float(state == now) for state in states}
            yield self._labelled(name, "1 for the current one.", "state", values)
        yield _counter("executor_restarts", "Restarts of the executor since the agent began.", executor.restarts)

    def _models(self, models: tuple[ModelHealth, ...]) -> Iterator[Metric]:
        state = GaugeMetricFamily(PREFIX + "model_state", "1 for the current one.", labels=["model", "state"])
        for model in self._capped(models):
            for name in _MODEL:
                state.add_metric([_label(model.name), name], float(model.state == name))
        yield state
        yield from self._commands(models)
        yield self._causes(models)
        for name, text, value in MODEL_GAUGES:
            yield self._labelled(name, text, "model", {model.name: value(model) for model in models})
        for name, text, value in MODEL_COUNTERS:
            counts = {model.name: value(model) for model in models}
            yield self._labelled(name, text, "model", counts, CounterMetricFamily)
        for quantiles in MODEL_QUANTILES:
            yield self._quantiles(quantiles, models)

    def _commands(self, models: tuple[ModelHealth, ...]) -> Iterator[Metric]:
        labels = ["model", "topic"]
        state = GaugeMetricFamily(
            PREFIX + "model_command_state", "1 for what a command output does now.", labels=[*labels, "state"]
        )
        sent = CounterMetricFamily(PREFIX + "model_commands", "Commands sent, zeros included.", labels=labels)
        driven = CounterMetricFamily(
            PREFIX + "model_driving_commands", "Commands sent of a model's result.", labels=labels
        )
        limited = CounterMetricFamily(
            PREFIX + "model_limited_commands", "Results and commands over a joint's limit.", labels=labels
        )
        for model in self._capped(models):
            for each in self._capped(model.commands):
                at = [_label(model.name), _label(each.topic)]
                for name in _COMMAND:
                    state.add_metric([*at, name], float(each.state == name))
                sent.add_metric(at, each.sent)
                driven.add_metric(at, each.driven)
                limited.add_metric(at, each.limited)
        yield from (state, sent, driven, limited)

    def _causes(self, models: tuple[ModelHealth, ...]) -> Metric:
        text = "What drops and errors were, and frames with a clock that is not the robot's."
        family = CounterMetricFamily(PREFIX + "model_causes", text, labels=["model", "cause"])
        for model in self._capped(models):
            for cause, count in self._capped(sorted(model.causes.items())):
                family.add_metric([_label(model.name), _label(cause)], count)
        return family

    def _quantiles(self, quantiles: Quantiles, models: tuple[ModelHealth, ...]) -> Metric:
        name, text, percentiles = quantiles
        family = GaugeMetricFamily(PREFIX + name, text, labels=["model", "quantile"])
        for model in self._capped(models):
            found = percentiles(model)
            if found is not None:
                for quantile, milliseconds in (("0.5", found.p50), ("0.9", found.p90), ("0.99", found.p99)):
                    family.add_metric([_label(model.name), quantile], milliseconds / 1000.0)
        return family

    def _labelled(
        self,
        name: str,
        text: str,
        label: str,
        values: Mapping[str, Number],
        kind: type[GaugeMetricFamily | CounterMetricFamily] = GaugeMetricFamily,
    ) -> Metric:
        family = kind(PREFIX + name, text, labels=[label])
        for value, measured in self._capped(values.items()):
            if measured is not None:
                family.add_metric([_label(value)], measured)
        return family

    def _capped(self, values: Collection[T]) -> Iterator[T]:
        self._dropped += max(0, len(values) - MAX_VALUES)
        return islice(values, MAX_VALUES)


def exposition(newest: Callable[[], HealthReport]) -> Callable[[], bytes]:
    """Return a function that renders the newest report in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ReportCollector(newest))
    return lambda: generate_latest(registry)


def _gauge(name: str, text: str, value: Number) -> Iterator[Metric]:
    if value is not None:
        yield GaugeMetricFamily(PREFIX + name, text, value=float(value))


def _counter(name: str, text: str, value: int) -> Metric:
    family = CounterMetricFamily(PREFIX + name, text)
    family.add_metric([], value)
    return family


def _label(value: str) -> str:
    return value[:MAX_LABEL]
