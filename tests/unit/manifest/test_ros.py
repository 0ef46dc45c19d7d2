"""A robot's place on the ROS graph: what defaults, group and robot declare comes to variables of its container."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from fleet.manifest.load import load_manifest
from fleet.resolve.resolver import resolve
from runtime.contract.node.ros_settings import ENV_ROS, RosNames, ros_names
from tests.fakes.fleet_folder import write_fleet
from tests.unit.manifest.texts import FLEET, problems_of
from tests.unit.resolve.test_resolver import recipes

DEFAULTS: dict[str, Any] = {"profile": "sim-x86", "user": "jetson"}


def environments(folder: Path, defaults: dict[str, Any], robot: dict[str, Any]) -> dict[str, Any]:
    robots = [
        {"name": "amr-001", "host": "a", "group": "amr", **robot},
        {"name": "amr-002", "host": "b", "group": "amr"},
    ]
    fleet = {"defaults": {**DEFAULTS, **defaults}, "robots": robots}
    desired = resolve(load_manifest(write_fleet(folder, fleet=fleet)), recipes)
    return {one.name: dict(one.environment) for one in desired.robots}


def test_levels_merge_by_key_and_a_robot_has_names_of_its_own(tmp_path: Path) -> None:
    defaults = {"ros": {"domain_id": 7, "rmw": "cyclonedds", "remap": {"/cmd_vel": "cmd_vel", "/scan": "scan"}}}
    own = {"ros": {"namespace": "amr1", "use_sim_time": True, "autostart": False, "remap": {"/scan": "front/scan"}}}
    found = environments(tmp_path, defaults, own)
    common = {"ROS_DOMAIN_ID": "7", "RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}
    assert (
        found["amr-001"].items() >= {**common, "JETFLEET_USE_SIM_TIME": "true", "JETFLEET_AUTOSTART": "false"}.items()
    )
    assert ros_names(found["amr-001"]) == RosNames("/amr1", {"/cmd_vel": "cmd_vel", "/scan": "front/scan"})
    assert found["amr-002"].items() >= common.items()
    assert ros_names(found["amr-002"]) == RosNames("", {"/cmd_vel": "cmd_vel", "/scan": "scan"})


def test_nothing_is_set_for_a_robot_that_declares_nothing(tmp_path: Path) -> None:
    assert environments(tmp_path, {}, {}) == {"amr-001": {}, "amr-002": {}}


def test_names_become_arguments_of_ros() -> None:
    names = RosNames("/amr1", {"/scan": "front/scan", "/b": "/c"})
    assert names.arguments() == ("-r", "__ns:=/amr1", "-r", "/b:=/c", "-r", "/scan:=front/scan")
    assert [names.resolved(topic, "jetfleet") for topic in ("~/x", "x", "/x")] == ["/amr1/jetfleet/x", "/amr1/x", "/x"]
    assert [RosNames().resolved(topic, "jetfleet") for topic in ("~/a/b", "d")] == ["/jetfleet/a/b", "/d"]
    assert RosNames().arguments() == ()
    with pytest.raises(ValueError, match="JETFLEET_ROS cannot be read"):
        ros_names({ENV_ROS: '{"namespace": 7}'})


@pytest.mark.parametrize(
    ("ros", "key", "says"),
    [
        ("{domain_id: 150}", "domain_id", "use 0 to 101"),
        ("{domain_id: 233}", "domain_id", ""),
        ("{namespace: amr-1}", "namespace", ""),
        ("{remap: {/cmd vel: /x}}", "remap", ""),
        ("{rmw: opensplice}", "rmw", ""),
        ("{domain: 7}", "domain", "domain_id"),
        ("{domain_id: 7}, environment: {ROS_DOMAIN_ID: '8'}", "domain_id", "twice"),
        ("{rmw: zenoh}, environment: {RMW_IMPLEMENTATION: rmw_fastrtps_cpp}", "rmw", "twice"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, ros: str, key: str, says: str) -> None:
    text = re.sub(r"(name: amr-001, [^}]*)}", rf"\1, ros: {ros}}}", FLEET, count=1)
    assert text != FLEET
    found = [problem for problem in problems_of(tmp_path, fleet=text) if f"ros/{key}" in problem.path]
    assert found, problems_of(tmp_path, fleet=text)
    assert says in f"{found[0].message} {found[0].hint}"
