from __future__ import annotations

from pathlib import Path

from fleet.manifest.load import load_manifest
from fleet.publish.lookup import look_up
from fleet.resolve.desired import Desired
from fleet.resolve.images.recipe import recipe_for
from fleet.resolve.resolver import resolve
from tests.fakes.fleet_folder import write_fleet
from tests.fakes.registries.registry import FakeRegistry


def fleet_of(path: Path, robots: int) -> Desired:
    """A fleet of three variants: fp32, fp16 and int8, robots dealt out in turn."""
    precisions = ("fp32", "fp16", "int8")
    groups = {name: {"models": [{"model": "detector", "precision": name}]} for name in precisions}
    rows = [
        {"name": f"r{index:05}", "host": f"10.0.{index // 250}.{index % 250 + 1}", "group": precisions[index % 3]}
        for index in range(robots)
    ]
    folder = write_fleet(path, fleet={"groups": {"amr": None, "scout": None, **groups}, "robots": rows})
    return resolve(load_manifest(folder), recipe_for)


def test_requests_count_distinct_artifacts_not_robots(tmp_path: Path) -> None:
    registry = FakeRegistry()
    facts = look_up(registry, fleet_of(tmp_path, 1000))
    # Three engines, one runtime base image, one release: five questions for a thousand robots.
    assert registry.requests_made == 5
    assert len(facts.missing_engines()) == 3
    assert len(facts.missing_bases()) == 1
    assert facts.release is None


def test_ten_robots_cost_as_many_requests_as_a_thousand(tmp_path: Path) -> None:
    few, many = FakeRegistry(), FakeRegistry()
    look_up(few, fleet_of(tmp_path / "few", 10))
    look_up(many, fleet_of(tmp_path / "many", 1000))
    assert sorted(few.calls) == sorted(many.calls)
