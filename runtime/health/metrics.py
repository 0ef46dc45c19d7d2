"""A HealthReport as Prometheus metrics. Labels come from the configuration alone, so their number is bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from runtime.contract.build import Percentiles
from runtime.contract.health import DEGRADED, OK, UNHEALTHY, HealthReport, ModelHealth

_LEVELS = {"ok": 0, "warn": 1, "stale": 1, "error": 2}
_MODEL_STATES = ("loading", "inactive", "active", "failed")


class ReportCollector(Collector):
    """Reads the newest report when Prometheus asks."""

    def __init__(self, newest: Callable[[], HealthReport]) -> None:
        self._newest = newest

    def collect(self) -> Iterable[Metric]:
        """Yield every metric family once."""
        report = self._newest()
        yield from _agent(report)
        yield from _executor(report)
        yield from _models(report.models)
        yield from _checks(report)
        yield from _machine(report)


def exposition(newest: Callable[[], HealthReport]) -> Callable[[], bytes]:
    """Return a function that renders the newest report in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ReportCollector(newest))
    return lambda: generate_latest(registry)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"jetfleet_{name}", text, value=value)


def _agent(report: HealthReport) -> Iterator[Metric]:
    info = GaugeMetricFamily("jetfleet_info", "What this container is; always 1.", labels=["robot", "release", "image"])
    info.add_metric([report.robot, report.release, report.image], 1)
    yield info
    state = GaugeMetricFamily("jetfleet_health_state", "1 for the state the robot is in.", labels=["state"])
    for name in (OK, DEGRADED, UNHEALTHY):
        state.add_metric([name], float(report.state == name))
    yield state
    yield _gauge("live", "1 while the executor process makes progress.", float(report.live))
    yield _gauge("ready", "1 while every model is loaded, tested and serving.", float(report.ready))
    yield _gauge("agent_uptime_seconds", "Since the agent started.", report.uptime_s)


def _executor(report: HealthReport) -> Iterator[Metric]:
    executor = report.executor
    restarts = CounterMetricFamily("jetfleet_executor_restarts", "Restarts of the executor since the agent started.")
    restarts.add_metric([], executor.restarts)
    yield restarts
    if executor.heartbeat_age_s is not None:
        yield _gauge("executor_heartbeat_age_seconds", "Since the executor made progress.", executor.heartbeat_age_s)


def _models(models: tuple[ModelHealth, ...]) -> Iterator[Metric]:
    state = GaugeMetricFamily("jetfleet_model_state", "1 for the state the model is in.", labels=["model", "state"])
    for model in models:
        for name in _MODEL_STATES:
            state.add_metric([model.name, name], float(model.state == name))
    yield state
    yield _per_model(models, "self_test_cosine", "Smallest cosine on golden data at load.", _cosine)
    yield _per_model(models, "input_rate_hertz", "Frames arriving.", lambda m: m.input_rate_hz)
    yield _per_model(models, "output_rate_hertz", "Results published.", lambda m: m.output_rate_hz)
    yield _counter(models, "frames", "Frames turned into results since the executor started.", lambda m: m.frames)
    yield _counter(models, "dropped_frames", "Frames that were never looked at.", lambda m: m.drops)
    yield _counter(models, "errors", "Frames refused, and inferences that failed.", lambda m: m.errors)
    yield _quantiles(models, "inference_seconds", "Inference, copies included.", lambda m: m.inference_ms)
    yield _quantiles(models, "frame_age_seconds", "From the frame's stamp to its result.", lambda m: m.frame_age_ms)


def _cosine(model: ModelHealth) -> float | None:
    return None if model.self_test is None else model.self_test.min_cosine


def _per_model(
    models: tuple[ModelHealth, ...], name: str, text: str, value: Callable[[ModelHealth], float | None]
) -> Metric:
    family = GaugeMetricFamily(f"jetfleet_model_{name}", text, labels=["model"])
    for model in models:
        measured = value(model)
        if measured is not None:
            family.add_metric([model.name], measured)
    return family


def _counter(models: tuple[ModelHealth, ...], name: str, text: str, value: Callable[[ModelHealth], int]) -> Metric:
    family = CounterMetricFamily(f"jetfleet_model_{name}", text, labels=["model"])
    for model in models:
        family.add_metric([model.name], value(model))
    return family


def _quantiles(
    models: tuple[ModelHealth, ...], name: str, text: str, value: Callable[[ModelHealth], Percentiles | None]
) -> Metric:
    family = GaugeMetricFamily(f"jetfleet_model_{name}", text, labels=["model", "quantile"])
    for model in models:
        measured = value(model)
        if measured is not None:
            for quantile, milliseconds in (("0.5", measured.p50), ("0.9", measured.p90), ("0.99", measured.p99)):
                family.add_metric([model.name, quantile], milliseconds / 1000.0)
    return family


def _checks(report: HealthReport) -> Iterator[Metric]:
    family = GaugeMetricFamily("jetfleet_check_level", "0 ok, 1 warning or stale, 2 error.", labels=["check"])
    for check in report.checks:
        if check.name != "note":
            family.add_metric([check.name], _LEVELS[check.level])
    yield family


def _machine(report: HealthReport) -> Iterator[Metric]:
    system = report.system
    heat = GaugeMetricFamily("jetfleet_temperature_celsius", "Thermal zones of the machine.", labels=["zone"])
    for zone, celsius in system.temperatures_c.items():
        heat.add_metric([zone], celsius)
    yield heat
    for name, text, value in (
        ("memory_total_bytes", "Memory of the machine.", system.memory_total_bytes),
        ("memory_available_bytes", "Memory that can be had without swapping.", system.memory_available_bytes),
        ("disk_free_bytes", "Free on the container's root file system.", system.disk_free_bytes),
        ("load1", "Load average over one minute.", system.load_1m),
        ("power_watts", "Power of the module.", system.power_w),
    ):
        if value is not None:
            yield _gauge(name, text, float(value))
