from __future__ import annotations

from dataclasses import replace
from typing import Any

from fleet.plan.compare import Snapshot, differences, of_manifest
from fleet.plan.power_diff import power_changes
from runtime.contract.codec import canonical_json
from runtime.contract.robot.power import ENV_POWER, GovernorSettings, PowerPolicy
from tests.unit.plan.conftest import DesiredFrom

FP32 = {"detector": ("fp32", "sha256:" + "1" * 64)}
FP32_NEW = {"detector": ("fp32", "sha256:" + "2" * 64)}
INT8 = {"detector": ("int8", "sha256:" + "3" * 64)}


def snapshot(name: str, robots: dict[str, str]) -> Snapshot:
    return Snapshot(name, robots, {"a": FP32, "b": FP32_NEW, "c": INT8, "d": {**FP32, "mask": ("fp16", "sha256:4")}})


def sentences(before: dict[str, str], after: dict[str, str]) -> dict[tuple[str, ...], tuple[str, ...]]:
    found = differences(snapshot("1", before), snapshot("2", after))
    return {each.robots: each.what for each in found}


def test_the_same_robots_have_no_difference() -> None:
    assert sentences({"r1": "a"}, {"r1": "a"}) == {}


def test_robots_with_the_same_change_are_told_together() -> None:
    assert sentences({"r1": "a", "r2": "a", "r3": "a"}, {"r1": "c", "r2": "c", "r3": "a"}) == {
        ("r1", "r2"): ("detector fp32 → int8",)
    }


def test_another_engine_at_the_same_precision_is_told() -> None:
    assert sentences({"r1": "a"}, {"r1": "b"}) == {
        ("r1",): ("detector fp32: another engine (111111111111 → 222222222222)",)
    }


def test_another_power_policy_is_told_by_value() -> None:
    def policy(**values: Any) -> dict[str, str]:
        return {ENV_POWER: canonical_json(PowerPolicy(**values)).decode()}

    calm = policy(mode="25W", modes=("25W", "40W"), sm_count=8, governor=GovernorSettings())
    hot = policy(mode="40W", modes=("25W", "40W"), sm_count=8, governor=GovernorSettings(hot_c=80.5))
    assert power_changes(calm, hot) == ("power governor.hot_c 85 → 80.5", "power mode 25W → 40W")
    assert power_changes({}, policy(mode="25W")) == ("power mode unset → 25W",)
    assert power_changes(calm, calm) == power_changes({}, {}) == ()
    assert power_changes({ENV_POWER: "{"}, {}) == ("power policy { → unset",)
    before = replace(snapshot("1", {"r1": "a"}), environment={"r1": calm})
    after = replace(snapshot("2", {"r1": "a"}), environment={"r1": hot})
    (found,) = differences(before, after)
    assert found.what == power_changes(calm, hot)


def test_another_environment_is_told_by_variable() -> None:
    before = replace(snapshot("1", {"r1": "a", "r2": "a"}), environment={"r1": {"ROS_DOMAIN_ID": "7", "OLD": "x"}})
    after = replace(snapshot("2", {"r1": "a", "r2": "a"}), environment={"r1": {"ROS_DOMAIN_ID": "8", "NEW": "y"}})
    (found,) = differences(before, after)
    assert found.robots == ("r1",)
    assert found.what == ("NEW unset → y", "OLD x → unset", "ROS_DOMAIN_ID 7 → 8")


def test_models_and_robots_come_and_go() -> None:
    found = sentences({"r1": "a", "gone": "a"}, {"r1": "d", "new": "c"})
    assert found == {("r1",): ("mask fp16 added",), ("gone",): ("removed",), ("new",): ("added, detector int8",)}


def test_a_variant_that_differs_in_configuration_only() -> None:
    before = Snapshot("1", {"r1": "x"}, {"x": FP32})
    after = Snapshot("2", {"r1": "y"}, {"y": FP32})
    assert differences(before, after)[0].what == ("configuration or base image changed, engines are the same",)


def test_a_manifest_has_a_snapshot(desired_from: DesiredFrom) -> None:
    desired = desired_from()
    found = of_manifest(desired)
    assert set(found.robots) == {"amr-001", "amr-002", "scout-001"}
    assert {engines["detector"][0] for engines in found.engines.values()} == {"fp32", "fp16"}
