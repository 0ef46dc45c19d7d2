"""Selectors: what they choose, and what a typo gets."""

from __future__ import annotations

import pytest

from fleet.errors import UsageError
from fleet.manifest.load import load_manifest
from fleet.resolve.desired import Desired
from fleet.resolve.inventory import select
from fleet.resolve.resolver import resolve
from tests.fakes.fleet_folder import write_fleet
from tests.unit.resolve.test_resolver import recipes


@pytest.fixture(scope="module")
def desired(tmp_path_factory: pytest.TempPathFactory) -> Desired:
    return resolve(load_manifest(write_fleet(tmp_path_factory.mktemp("fleet"))), recipes)


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        (None, ["amr-001", "amr-002", "scout-001"]),
        ("amr-001", ["amr-001"]),
        ("scout-001,amr-001", ["amr-001", "scout-001"]),
        ("amr-*", ["amr-001", "amr-002"]),
        ("*-00[13]", ["amr-001", "scout-001"]),
        ("group:scout", ["scout-001"]),
        ("group:*", ["amr-001", "amr-002", "scout-001"]),
        ("site=hall-1", ["amr-001", "amr-002"]),
        ("site=hall-*", ["amr-001", "amr-002", "scout-001"]),
        ("group:amr, site=hall-2", ["amr-001", "amr-002", "scout-001"]),
        ("group:amr,!amr-002", ["amr-001"]),
        ("!group:amr", ["scout-001"]),
        ("!amr-001,!scout-*", ["amr-002"]),
    ],
)
def test_select(desired: Desired, selector: str | None, names: list[str]) -> None:
    assert [robot.name for robot in select(desired, selector)] == names


@pytest.mark.parametrize(
    ("selector", "says", "hint"),
    [
        ("amr-01", "no robot is called 'amr-01'", "did you mean amr-001?"),
        ("zebra", "no robot is called", "robots: amr-001, amr-002, scout-001"),
        ("zebra-*", "no robot's name matches", "robots: amr-001"),
        ("amr-001,zebra", "no robot is called 'zebra'", "robots: "),
        ("group:scoot", "no robot is in a group 'scoot'", "did you mean scout?"),
        ("group:", "no robot is in a group ''", "groups: amr, scout"),
        ("sight=hall-1", "no robot has a label 'sight'", "did you mean site?"),
        ("site=hall-3", "no robot has 'site=hall-3'", "did you mean hall-"),
        ("site=", "no robot has", "values of site: hall-1, hall-2"),
        ("", "empty part", "globs"),
        ("amr-001,,", "empty part", "globs"),
        ("!", "empty part", "globs"),
        ("amr-001,!amr-*", "leaves no robot", "!"),
        ("!zebra", "no robot is called", "robots: "),
    ],
)
def test_a_selector_that_means_nobody_is_refused(desired: Desired, selector: str, says: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        select(desired, selector)
    assert caught.value.exit_code == 2
    assert says in caught.value.message
    assert hint in caught.value.hint
