"""Power as Prometheus metrics. The only label is the mode, of which the manifest names a few."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from runtime.contract.robot.power import PowerStatus


def power_metrics(status: PowerStatus | None) -> Iterator[Metric]:
    """Yield every family once; nothing where power is not governed."""
    if status is None:
        return
    mode = GaugeMetricFamily("jetfleet_power_mode", "1 for the power mode that is set.", labels=["mode"])
    for name in sorted({*status.modes, *filter(None, (status.mode, status.wanted))}):
        mode.add_metric([name], float(name == status.mode))
    yield mode
    changes = CounterMetricFamily("jetfleet_power_mode_changes", "Power modes that the host's updater has set.")
    changes.add_metric([], status.mode_changes)
    yield changes
    for name, text, value in (
        ("level", "Steps down in force because of heat; 0 is normal.", status.level),
        ("max_level", "Step at which models are refused.", status.max_level),
        ("frames_ratio", "Share of the frames that slowed models look at.", status.rate),
        ("slowed_models", "Models that look at fewer frames.", len(status.slowed)),
        ("lightened_models", "Models whose lighter engine is ordered.", len(status.lightened)),
        ("refused_models", "Models that are not served.", len(status.refused)),
        ("reboot_needed", "1 when a wanted mode needs a reboot.", bool(status.reboot_needed)),
        ("problem", "1 while the host does not do what is wanted.", bool(status.problem)),
    ):
        yield GaugeMetricFamily(f"jetfleet_power_{name}", text, value=float(value))
