"""What Prometheus gets: valid text, base units, a bounded number of series; and the dashboard that is made of it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from runtime.contract.node.health import CommandHealth, HealthReport
from runtime.contract.node.runtime_config import RuntimeConfig
from runtime.contract.robot.power import PowerStatus
from runtime.health.checks.machine_checks import readings
from runtime.health.checks.report import Reporter
from runtime.health.http.metrics import MAX_LABEL, MAX_VALUES, exposition
from runtime.health.settings import AgentSettings
from runtime.health.sources.machine import Machine
from tests.fakes.robots.machine_tree import GENERATIONS, write_machine
from tests.unit.health.conftest import model_health, snapshot

DOCS = Path(__file__).parents[3] / "docs"
LABELS = {
    "robot", "release", "image", "state", "model", "quantile", "check", "zone", "rail", "cluster", "event", "volume",
    "mode", "topic", "cause",
}  # fmt: skip


HEALTH = model_health(
    drops=4,
    causes={"clock_behind": 130},
    commands=(CommandHealth("/cmd_vel", "stopped", "the frame is 1e9 s old", 3, 130),),
)


def report_of(config: RuntimeConfig, root: Path, name: str = "l4t-36") -> HealthReport:
    machine = Machine(write_machine(root, name), {"/": root})
    machine.sample(0.0)
    settings = AgentSettings(Path("x"), "amr-001", "1.0.0", "r/x@sha256:aa", 0, 1.0)
    power = PowerStatus("25W", "25W", ("25W", "40W"))
    return Reporter(settings, config, 0.0).report(snapshot(HEALTH), machine.sample(2.0), 1.0, power)


def names_in(text: str) -> set[str]:
    """Every series name, as a query writes it (counters with ``_total``)."""
    return {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}


@pytest.mark.parametrize("name", GENERATIONS)
def test_the_text_is_valid_on_every_generation(config: RuntimeConfig, tmp_path: Path, name: str) -> None:
    text = exposition(lambda: report_of(config, tmp_path, name))().decode()
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families)
    series = [(s.name, tuple(sorted(s.labels.items()))) for family in families for s in family.samples]
    assert len(set(series)) == len(series)
    for family in families:
        assert re.fullmatch(r"jetfleet_[a-z0-9_]+", family.name)
        assert family.documentation
        assert all(sample.name.endswith("_total") == (family.type == "counter") for sample in family.samples)
        assert {label for sample in family.samples for label in sample.labels} <= LABELS
        assert not re.search(r"_(ms|milliseconds|mb|percent|celcius|mhz|khz)(_|$)", family.name)


def test_values_of_a_hot_robot(config: RuntimeConfig, tmp_path: Path) -> None:
    text = exposition(lambda: report_of(config, tmp_path))().decode()
    for line in (
        'jetfleet_model_inference_seconds{model="signs",quantile="0.99"} 0.02',
        'jetfleet_model_dropped_frames_total{model="signs"} 4.0',
        'jetfleet_model_causes_total{cause="clock_behind",model="signs"} 130.0',
        'jetfleet_model_command_state{model="signs",state="stopped",topic="/cmd_vel"} 1.0',
        'jetfleet_model_driving_commands_total{model="signs",topic="/cmd_vel"} 3.0',
        'jetfleet_temperature_celsius{zone="tj-thermal"} 99.281',
        'jetfleet_health_state{state="ok"} 1.0',
        'jetfleet_executor_state{state="running"} 1.0',
        'jetfleet_overcurrent_events_total{event="oc3"} 27390.0',
        'jetfleet_overcurrent_rate_hertz{event="oc3"} 0.0',
        "jetfleet_throttling 1.0",
        "jetfleet_gpu_load_ratio 0.987",
        "jetfleet_in_service 1.0",
        "jetfleet_dropped_series_total 0.0",
    ):
        assert line in text.splitlines()
    assert "emc_clock" not in text  # what the machine does not offer is absent, not 0


def test_series_are_capped_and_what_is_left_out_is_counted(config: RuntimeConfig, tmp_path: Path) -> None:
    report = report_of(config, tmp_path)
    zones = {f"zone-{index}": 40.0 for index in range(MAX_VALUES + 5)} | {"z" * 500: 1.0}
    render = exposition(lambda: replace(report, system=replace(report.system, temperatures_c=zones)))
    for scrape in (1, 2):
        families = {family.name: family for family in text_string_to_metric_families(render().decode())}
        assert len(families["jetfleet_temperature_celsius"].samples) == MAX_VALUES
        assert families["jetfleet_dropped_series"].samples[0].value == 6 * scrape
    long = replace(report, system=replace(report.system, temperatures_c={"z" * 500: 1.0}))
    assert f'zone="{"z" * MAX_LABEL}"' in exposition(lambda: long)().decode()


def test_a_name_that_needs_escaping_survives(config: RuntimeConfig, tmp_path: Path) -> None:
    report = report_of(config, tmp_path)
    odd = 'a"b\\c\nd'
    text = exposition(lambda: replace(report, system=replace(report.system, temperatures_c={odd: 1.0})))().decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["jetfleet_temperature_celsius"].samples[0].labels == {"zone": odd}


def every_name(config: RuntimeConfig, root: Path) -> set[str]:
    report = report_of(config, root)
    whole = replace(report, system=replace(report.system, emc_clock_hz=1, load_1m=1.0))
    return names_in(exposition(lambda: whole)().decode())


def test_the_dashboard_asks_only_for_what_exists(config: RuntimeConfig, tmp_path: Path) -> None:
    dashboard = json.loads((DOCS / "grafana-dashboard.json").read_text(encoding="utf-8"))
    queries = [target["expr"] for panel in panels(dashboard) for target in panel.get("targets", [])]
    queries += [str(variable.get("query", "")) for variable in dashboard["templating"]["list"]]
    asked = {name for query in queries for name in re.findall(r"jetfleet_\w+", query)}
    assert len(asked) > 20
    assert asked <= every_name(config, tmp_path), asked - every_name(config, tmp_path / "again")
    ids = [panel["id"] for panel in panels(dashboard)]
    assert len(set(ids)) == len(ids)


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for panel in dashboard["panels"]:
        found += [panel, *panel.get("panels", [])]
    return found


def test_every_metric_is_documented_and_no_other(config: RuntimeConfig, tmp_path: Path) -> None:
    page = (DOCS / "health.md").read_text(encoding="utf-8")
    table = page[page.index("## Metrics") : page.index("## Dashboard")]
    documented = {
        name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    assert {f"jetfleet_{name}" for name in documented} == every_name(config, tmp_path)


def test_every_check_of_the_machine_is_documented(config: RuntimeConfig, tmp_path: Path) -> None:
    page = (DOCS / "health.md").read_text(encoding="utf-8")
    system = replace(report_of(config, tmp_path).system, sample_age_s=60.0)
    for reading in readings(system):
        assert f"`{reading.name.partition(':')[0]}" in page
