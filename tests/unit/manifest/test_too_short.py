"""A list with too few entries is one problem; one whose entries are wrong has theirs, and none of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict, Field

from fleet.errors import ManifestError
from fleet.manifest.yaml.report import Report


class Pair(BaseModel):
    model_config = ConfigDict(extra="forbid")

    one: Annotated[tuple[int, ...], Field(min_length=1)] = (1,)
    two: Annotated[tuple[int, ...], Field(min_length=2)] = (1, 2)


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("two: [1]\n", ["two"]),
        ("one: []\n", ["one"]),
        ("two: []\n", ["two"]),
        ("one: [x]\n", ["one/0"]),
        ("two: [x, y]\n", ["two/0", "two/1"]),
        ("two: [1, y]\n", ["two/1"]),
    ],
)
def test_each_list_has_the_problem_that_is_there(text: str, paths: list[str], tmp_path: Path) -> None:
    file = tmp_path / "pair.yaml"
    file.write_text(text)
    report = Report()
    source = report.read(file, "pair.yaml")
    assert source is not None
    report.parse(Pair, source)
    with pytest.raises(ManifestError) as caught:
        report.raise_if_any()
    assert [problem.path for problem in caught.value.problems] == paths
