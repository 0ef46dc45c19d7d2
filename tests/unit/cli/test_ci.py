from __future__ import annotations

import json
from pathlib import Path

import pytest

from fleet.cli.commands.ci import find_work, github_output, matrix
from fleet.errors import UsageError
from fleet.manifest.load import load_manifest
from fleet.plan.diff import runtime_recipes
from fleet.resolve.desired import Desired, EngineSpec
from fleet.resolve.images.recipe import recipe_for
from fleet.resolve.resolver import resolve
from tests.fakes.fleet_folder import write_fleet


@pytest.fixture
def desired(tmp_path: Path) -> Desired:
    return resolve(load_manifest(write_fleet(tmp_path)), recipe_for)


def test_the_matrix_has_one_job_for_each_missing_thing(desired: Desired) -> None:
    jobs = matrix(list(desired.engines.values()), list(runtime_recipes(desired)))["include"]
    assert len(jobs) == 3
    assert all(job["runs_on"] == ["self-hosted", "sim-x86"] for job in jobs)
    assert len({job["key"] for job in jobs}) == 3


def test_github_output_is_two_lines_that_actions_can_read(desired: Desired) -> None:
    lines = dict(line.split("=", 1) for line in github_output(list(desired.engines.values()), []).splitlines())
    assert lines["build"] == "true"
    assert {job["precision"] for job in json.loads(lines["engines"])["include"]} == {"fp32", "fp16"}


def test_nothing_missing_means_no_build_job(desired: Desired) -> None:
    assert "build=false" in github_output([], []).splitlines()


def test_a_key_is_found_whole_and_by_its_first_digits(desired: Desired) -> None:
    key = next(iter(desired.engines))
    for name in (key, key[7:], key[7:19]):
        found = find_work(desired, name)
        assert isinstance(found, EngineSpec)
        assert found.key == key


def test_an_image_is_found_by_its_tag(desired: Desired) -> None:
    recipe = runtime_recipes(desired)[0]
    assert find_work(desired, recipe.tag) == recipe


@pytest.mark.parametrize("key", ["sha256:", "abc", "0" * 64, "runtime-other"])
def test_an_unknown_or_too_short_key_names_what_there_is(desired: Desired, key: str) -> None:
    with pytest.raises(UsageError, match="detector fp32"):
        find_work(desired, key)
