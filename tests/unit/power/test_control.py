"""The governor at work: samples of the machine in, wishes and orders out; and its words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from runtime.contract.codec import canonical_json, from_json
from runtime.contract.node.health import SystemHealth
from runtime.contract.robot.power import GovernorSettings, PowerAnswer, PowerPolicy, PowerStatus, ServingOrders
from runtime.power.control import PowerControl, describe, power_check, sample_of
from runtime.power.governor import PowerSample
from runtime.power.host_link import HostSays
from runtime.power.metrics import power_metrics
from tests.fakes.nvpmodel import Jetson

POLICY = PowerPolicy("40W", ("25W", "40W", "MAXN_SUPER"), 8, ("planner",), GovernorSettings())


class Host:
    """A host that does what is wanted, unless told otherwise."""

    def __init__(self, mode: str | None = "40W") -> None:
        self.says = HostSays() if mode is None else HostSays(PowerAnswer(mode, mode, True))
        self.wanted: list[tuple[str, str]] = []
        self.obeys = True

    def want(self, mode: str, why: str) -> None:
        if not self.wanted or self.wanted[-1][0] != mode:
            self.wanted.append((mode, why))
        if self.obeys and self.says.answer is not None:
            self.says = HostSays(PowerAnswer(mode, mode, True))


class Site:
    def __init__(self, folder: Path, policy: PowerPolicy = POLICY, host: Host | None = None) -> None:
        self.host, self.said, self.now = host or Host(), [""], 100.0
        root = Jetson(folder).root
        self.control = PowerControl(policy, ["signs", "planner"], self.host, root=root, log=self.said.append)

    def at(self, celsius: float, seconds: int = 1, **values: float) -> PowerStatus:
        for _ in range(seconds):
            self.now += 1.0
            assert self.control.step(SystemHealth({"tj": celsius, "cpu": celsius - 5}, **values), self.now)  # type: ignore[arg-type]
        return self.control.status


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_normal_is_the_resting_mode_and_no_orders(site: Site) -> None:
    status = site.at(60.0, 120, gpu_load=0.5)
    assert site.host.wanted == [("40W", "")]
    assert site.control.orders == ServingOrders()
    assert (status.mode, status.wanted, status.modes, status.level) == ("40W", "40W", POLICY.modes, 0)
    assert power_check(status).level == "ok"
    assert describe(status) == "mode 40W"
    assert site.said == [""]


def test_at_most_once_a_second(site: Site) -> None:
    site.at(60.0)
    assert not site.control.step(SystemHealth(), site.now + 0.5)


def test_heat_slows_then_lowers_then_refuses_and_spares_the_essential(site: Site) -> None:
    site.at(90.0, 11)
    assert site.control.orders == ServingOrders({"signs": 0.5})
    site.at(90.0, 10)
    assert site.control.orders == ServingOrders({"signs": 0.25})
    status = site.at(90.0, 10)
    assert site.host.wanted[-1] == ("25W", "hot: tj 90 °C, limit 85 °C")
    assert power_check(status).level == "warn"
    status = site.at(90.0, 10)
    assert site.control.orders == ServingOrders(refused={"signs": "not served: hot: tj 90 °C, limit 85 °C"})
    assert (status.refused, status.slowed, status.level, status.max_level) == (("signs",), (), 4, 4)
    check = power_check(status)
    assert (check.level, check.message) == (
        "error", "mode 25W; signs not served; step 4 of 4; hot: tj 90 °C, limit 85 °C",
    )  # fmt: skip
    assert len(site.said) == 1 + 4
    site.at(60.0, 400)
    assert site.control.orders == ServingOrders()
    assert site.host.wanted[-1][0] == "40W"


def test_a_lighter_engine_is_a_step_between_frames_and_modes(tmp_path: Path) -> None:
    site = Site(tmp_path, replace(POLICY, lighter=("signs", "planner", "gone")))
    site.at(90.0, 21)
    assert site.control.orders == ServingOrders({"signs": 0.25})
    status = site.at(90.0, 10)
    assert site.control.orders == ServingOrders({"signs": 0.25}, {}, {"signs": "hot: tj 90 °C, limit 85 °C"})
    assert (status.lightened, status.wanted, status.level, status.max_level) == (("signs",), "40W", 3, 5)
    assert "a lighter engine for signs" in describe(status)
    assert site.at(90.0, 10).wanted == "25W"
    assert list(site.at(90.0, 10).refused) == list(site.control.orders.lighter) == ["signs"]
    site.at(60.0, 500)
    assert site.control.orders == ServingOrders()


def test_until_the_host_speaks_there_are_no_modes_but_the_wish(tmp_path: Path) -> None:
    host = Host(None)
    site = Site(tmp_path, host=host)
    status = site.at(90.0, 31)
    assert (status.modes, status.mode, status.refused) == ((), None, ("signs",))
    assert [mode for mode, _ in host.wanted] == ["40W"]
    host.says = HostSays(None, "the host does not answer on /run/x: No such file -> bootstrap")
    assert "the host does not answer" in power_check(site.at(60.0)).message


def test_a_mode_that_needs_a_reboot_is_no_step_of_the_ladder(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.host.obeys = False
    site.host.says = HostSays(PowerAnswer("40W", "25W", False, ("25W",), "from 40W to 25W needs a reboot -> do it"))
    status = site.at(60.0)
    assert status.modes == ("40W", "MAXN_SUPER")
    assert status.max_level == 3
    assert status.reboot_needed == ("25W",)
    check = power_check(status)
    assert (check.level, check.message) == ("warn", "mode 40W; from 40W to 25W needs a reboot -> do it")


def test_a_machine_with_other_sms_than_the_engines_only_takes_frames(tmp_path: Path) -> None:
    site = Site(tmp_path, host=Host("15W"))
    site.host.obeys = False
    status = site.at(90.0, 25)
    assert status.modes == ()
    assert (status.mode, status.wanted) == ("15W", "40W")
    assert site.control.orders == ServingOrders({"signs": 0.25})
    assert describe(status).startswith("mode 15W, 40W wanted; 25% of the frames for signs")


def test_a_defect_is_told_once_and_the_last_orders_stand_until_it_is_over(site: Site) -> None:
    site.at(90.0, 11)
    ordered, said = site.control.orders, len(site.said)
    good = site.host.says
    site.host.says = None  # type: ignore[assignment]  # what no host says
    status = site.at(90.0, 3)
    assert site.control.orders == ordered == ServingOrders({"signs": 0.5})
    check = power_check(status)
    assert check.level == "warn"
    assert "the governor failed: AttributeError: 'NoneType' object has no attribute 'answer'" in check.message
    assert check.message.endswith("its last orders stand, tried again every second")
    assert len(site.said) == said + 1
    site.host.says = good
    status = site.at(90.0)
    assert (status.problem, power_check(status).message.count("failed")) == ("", 0)


def test_without_modes_nothing_is_asked_of_the_host(tmp_path: Path) -> None:
    site = Site(tmp_path, PowerPolicy(governor=GovernorSettings()), Host(None))
    status = site.at(60.0, 3)
    assert site.host.wanted == []
    assert describe(status) == "nothing to govern"


def test_what_the_governor_looks_at() -> None:
    system = SystemHealth({"cpu": 50.0, "tj": 61.0}, gpu_load=0.4, overcurrent_events={"oc1": 1, "oc3": 5})
    assert sample_of(system, 7.0) == PowerSample(7.0, 61.0, 0.4, 6, "tj")
    assert sample_of(SystemHealth(), 7.0) == PowerSample(7.0)
    assert sample_of(SystemHealth({"tj": 40.0}, sample_age_s=11.0), 7.0) == PowerSample(7.0)


class _Fixed(Collector):
    def __init__(self, status: PowerStatus | None) -> None:
        self._status = status

    def collect(self):  # type: ignore[no-untyped-def]
        return power_metrics(self._status)


def test_metrics() -> None:
    status = PowerStatus(
        "25W", "40W", ("25W", "40W"), 2, 4, 0.25, (), ("signs",), "hot", ("40W",), "needs a reboot", 3
    )  # fmt: skip
    registry = CollectorRegistry()
    registry.register(_Fixed(status))
    text = generate_latest(registry).decode()
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found == {
        ("jetfleet_power_mode", "25W"): 1.0,
        ("jetfleet_power_mode", "40W"): 0.0,
        ("jetfleet_power_mode_changes_total",): 3.0,
        ("jetfleet_power_level",): 2.0,
        ("jetfleet_power_max_level",): 4.0,
        ("jetfleet_power_frames_ratio",): 0.25,
        ("jetfleet_power_slowed_models",): 1.0,
        ("jetfleet_power_lightened_models",): 0.0,
        ("jetfleet_power_refused_models",): 0.0,
        ("jetfleet_power_reboot_needed",): 1.0,
        ("jetfleet_power_problem",): 1.0,
    }
    assert list(power_metrics(None)) == []


def test_orders_cross_the_boundary() -> None:
    orders = ServingOrders({"signs": 0.25}, {"other": "hot"})
    assert from_json(ServingOrders, canonical_json(orders)) == orders


def test_a_hot_wifi_card_is_not_a_hot_computer(site: Site) -> None:
    zones = {"cpu-thermal": 48.0, "gpu-thermal": 47.0, "tj-thermal": 50.0, "iwlwifi_1": 95.0, "PMIC-Die": 100.0}
    for _ in range(30):
        site.now += 1.0
        site.control.step(SystemHealth(zones), site.now)
    assert site.control.orders == ServingOrders()
    assert (site.control.status.level, site.control.status.reason) == (0, "")
