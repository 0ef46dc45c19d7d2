"""Manifests broken at random: whatever is wrong is a ManifestError that says where, never another exception."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from fleet.errors import ManifestError, Problem
from fleet.manifest.load import load_manifest
from fleet.resolve.resolver import resolve
from tests.fakes.fleet_folder import write_fleet
from tests.unit.resolve.test_resolver import recipes

FILES = ("fleet.yaml", "profiles/sim-x86.yaml", "models/detector.yaml")
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, "", "x", "../..", "/", "yes", [], {}, [1], {"a": 1}, [[]], [{}], {"": None}, "a" * 300, "é",
    "\n", float("inf"), 10**30, "~", "*", "int8", "sim-x86", "\x7f", ".",
)  # fmt: skip
SNIPPETS = ("\t", "{", "[", ":", "- ", "#", "'", '"', "&a ", "*a", "!x ", "|", "\x00", "\n", "%", "? ", "---\n")


@pytest.mark.parametrize("seed", range(8))
def test_random_mutations(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    write_fleet(tmp_path)
    texts = {file: (tmp_path / file).read_text(encoding="utf-8") for file in FILES}
    broken = 0
    for _ in range(25):
        chosen = rng.choice(FILES)
        text = _with_value(texts[chosen], rng) if rng.random() < 0.7 else _with_snippet(texts[chosen], rng)
        (tmp_path / chosen).write_text(text, encoding="utf-8")
        problems = _problems(tmp_path)
        broken += bool(problems)
        for problem in problems:
            assert problem.message
            assert problem.hint
            assert problem.line <= Path(problem.file).read_text(encoding="utf-8").count("\n") + 1
        (tmp_path / chosen).write_text(texts[chosen], encoding="utf-8")
    assert broken >= 10


def _problems(folder: Path) -> Sequence[Problem]:
    try:
        resolve(load_manifest(folder), recipes)
    except ManifestError as error:
        return error.problems
    return ()


def _with_snippet(text: str, rng: random.Random) -> str:
    at = rng.randrange(len(text))
    return text[:at] + rng.choice(SNIPPETS) + text[at + rng.randrange(3) :]


def _with_value(text: str, rng: random.Random) -> str:
    value = yaml.safe_load(text)
    path = rng.choice(list(_paths(value)))
    parent = value
    for part in path[:-1]:
        parent = parent[part]
    if rng.random() < 0.3:
        del parent[path[-1]]
    else:
        parent[path[-1]] = copy.deepcopy(rng.choice(VALUES))
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)


def _paths(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if at:
        yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _paths(item, (*at, key))
