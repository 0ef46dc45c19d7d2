"""Templates in environment: rendered for each robot, sandboxed, and an error where something is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fleet.errors import ManifestError
from fleet.manifest.load import load_manifest
from fleet.resolve.images.recipe import recipe_for
from fleet.resolve.resolver import resolve
from tests.fakes.fleet_folder import write_fleet


def environments(folder: Path, **fleet: Any) -> list[dict[str, str]]:
    return [
        dict(each.environment) for each in resolve(load_manifest(write_fleet(folder, fleet=fleet)), recipe_for).robots
    ]


def refused(folder: Path, value: str, **defaults: Any) -> str:
    with pytest.raises(ManifestError) as caught:
        load_manifest(write_fleet(folder, fleet={"defaults": {"environment": {"X": value}, **defaults}}))
    (problem,) = caught.value.problems
    assert problem.path == "defaults/environment/X"
    assert problem.line > 1
    assert problem.hint
    return problem.message


def test_one_template_gives_each_robot_its_own_value(tmp_path: Path) -> None:
    found = environments(
        tmp_path,
        defaults={
            "environment": {
                "NAME": "{{ robot.name }}@{{ robot.host }}",
                "DOCK": "{{ labels.site }}/{{ variables.dock }}",
            },
            "variables": {"dock": "1"},
        },
        robots=[
            {"name": "amr-001", "host": "10.0.0.11", "group": "amr"},
            {"name": "amr-002", "host": "10.0.0.12", "group": "amr", "variables": {"dock": "7"}},
        ],
    )
    assert found[0] == {"NAME": "amr-001@10.0.0.11", "DOCK": "hall-1/1"}
    assert found[1] == {"NAME": "amr-002@10.0.0.12", "DOCK": "hall-1/7"}


def test_conditions_filters_and_numbers(tmp_path: Path) -> None:
    value = "{% if robot.group == 'amr' %}{{ variables.n | int * 10 + 1 }}{% else %}{{ variables.n }}{% endif %}"
    found = environments(tmp_path, defaults={"environment": {"X": value}, "variables": {"n": "4"}})
    assert [each["X"] for each in found] == ["41", "41", "4"]


def test_values_without_braces_stay_as_they_are(tmp_path: Path) -> None:
    found = environments(tmp_path, defaults={"environment": {"X": "$HOME {x} 100%"}})
    assert {each["X"] for each in found} == {"$HOME {x} 100%"}


def test_raw_writes_braces(tmp_path: Path) -> None:
    found = environments(tmp_path, defaults={"environment": {"X": "{% raw %}{{ x }}{% endraw %}"}})
    assert {each["X"] for each in found} == {"{{ x }}"}


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("{{ variables.dock }}", "has no attribute 'dock'"),
        ("{{ robot.nme }}", "has no attribute 'nme'"),
        ("{{ dock }}", "'dock' is undefined"),
        ("{{ labels.site", "unexpected end"),
        ("{% if %}", "X has no value on amr-001"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ 'x' | nosuch }}", "No filter named"),
        ("{{ ''.__class__.__mro__ }}", "X may not do that"),
        ("{{ robot.update({'name': 'y'}) }}", "X may not do that"),
        ("{{ 'x' * 1000000000 }}", "X may not do that"),
        ("{{ 9 ** 9 ** 9 }}", "X may not do that"),
        ("{% for n in range(10000000) %}x{% endfor %}", "X has no value on amr-001"),
        ("{{ '%c' | format(10) }}", "is no line of text"),
    ],
)
def test_a_template_that_gives_no_value_is_named_where_it_is_written(tmp_path: Path, value: str, says: str) -> None:
    assert says in refused(tmp_path, value)


def test_a_template_that_fails_on_one_robot_alone_is_found(tmp_path: Path) -> None:
    """The second of two robots that share their group's settings: only its own variables lack something."""
    with pytest.raises(ManifestError) as caught:
        environments(
            tmp_path,
            groups={"amr": {"environment": {"X": "{{ variables.dock }}"}}},
            robots=[
                {"name": "amr-001", "host": "10.0.0.11", "group": "amr", "variables": {"dock": "1"}},
                {"name": "amr-002", "host": "10.0.0.12", "group": "amr"},
            ],
        )
    (problem,) = caught.value.problems
    assert problem.path == "groups/amr/environment/X"
    assert "X has no value on amr-002" in problem.message
