"""A robot's resources and inhibit rules: inherited, checked, and told to its container."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fleet.errors import ManifestError
from fleet.manifest.load import load_manifest
from fleet.resolve.resolver import resolve
from runtime.contract.codec import from_json
from runtime.contract.node.resources import ENV_INHIBIT, ENV_MEMORY, ENV_RESOURCES, InhibitPolicy, ResourcePolicy
from tests.fakes.fleet_folder import write_fleet
from tests.unit.resolve.test_resolver import recipes

RULES = [
    {"velocity": "/cmd_vel", "message": "TwistStamped", "within": "5s"},
    {"flag": "/mission/active"},
    {"service": "/mission/may_update"},
]


def environments(folder: Path, **fleet: Any) -> list[dict[str, str]]:
    desired = resolve(load_manifest(write_fleet(folder, fleet=fleet)), recipes)
    return [dict(robot.environment) for robot in desired.robots]


def test_what_is_declared_reaches_the_container_and_nothing_else_does(tmp_path: Path) -> None:
    resources = {"worker_cpus": [2, 3], "spin_cpus": [1], "memory": "2GiB", "keep_free": "256MiB"}
    amr, _, scout = environments(tmp_path, groups={"amr": {"resources": resources, "update_inhibit": RULES}})
    assert from_json(ResourcePolicy, amr[ENV_RESOURCES]) == ResourcePolicy((2, 3), (1,), 256 << 20)
    assert amr[ENV_MEMORY] == str(2 << 30)
    rules = from_json(InhibitPolicy, amr[ENV_INHIBIT]).rules
    assert [(rule.kind, rule.name) for rule in rules] == [
        ("velocity", "/cmd_vel"), ("bool", "/mission/active"), ("service", "/mission/may_update"),
    ]  # fmt: skip
    assert (rules[0].within_s, rules[0].message) == (5.0, "TwistStamped")
    assert scout == {}


def test_a_nearer_level_takes_the_whole_of_a_farther_one_away(tmp_path: Path) -> None:
    amr, _, scout = environments(tmp_path, defaults={"update_inhibit": RULES}, groups={"scout": {"update_inhibit": []}})
    assert ENV_INHIBIT in amr
    assert scout == {}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resources": {"worker_cpus": [1, 1]}}, "a CPU is named twice"),
        ({"resources": {"memory": "2 GB"}}, "write a number and a unit, such as 512MiB"),
        ({"resources": {"memory": "1MiB"}}, "268435456"),
        ({"resources": {"worker_cpus": [-1]}}, "0"),
        ({"update_inhibit": [{}]}, "exactly one of velocity, flag or service"),
        ({"update_inhibit": [{"velocity": "/a", "flag": "/b"}]}, "exactly one of velocity, flag or service"),
        ({"update_inhibit": [{"flag": "/b", "within": "3s"}]}, "within is for velocity and service rules"),
        ({"update_inhibit": [{"service": "/b", "message": "Twist"}]}, "message is for velocity rules"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ManifestError) as caught:
        load_manifest(write_fleet(tmp_path, fleet={"defaults": settings}))
    [problem] = caught.value.problems
    assert message in f"{problem.message} {problem.hint}"
    assert problem.line > 0
