"""What the hub counts, for Prometheus. Robots are no labels: ten thousand of them are a fleet, not a series each."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class HubMetrics:
    """Counters of one hub process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.reports = Counter(
            "jetfleet_hub_reports", "Reports that came in, by the status answered", ["status"], registry=self._registry
        )
        self.reads = Counter("jetfleet_hub_reads", "Answers to readers, by status", ["status"], registry=self._registry)
        self.seconds = Histogram(
            "jetfleet_hub_report_seconds",
            "From a report's whole body to its answer",
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self.robots = Gauge("jetfleet_hub_robots", "Robots and keys that are known", registry=self._registry)
        self.kept = Gauge("jetfleet_hub_kept_reports", "Reports that are kept", registry=self._registry)
        self.bytes = Gauge("jetfleet_hub_kept_bytes", "Bytes of kept reports", registry=self._registry)
        self.waiting = Gauge("jetfleet_hub_waiting_robots", "Robots whose key no pin names", registry=self._registry)
        self.pins_problem = Gauge(
            "jetfleet_hub_pins_unreadable", "1 when the pins could not be read last", registry=self._registry
        )
        self.pruned = Counter("jetfleet_hub_pruned_reports", "Reports deleted for their age", registry=self._registry)

    def text(self) -> bytes:
        """Return them as Prometheus reads them."""
        return generate_latest(self._registry)
