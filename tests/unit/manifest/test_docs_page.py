"""docs/manifest.md shows manifests that load and a reference that exists."""

from __future__ import annotations

import re
from pathlib import Path

from fleet.manifest.inherit import Inheritance
from fleet.manifest.schema.manifest_schema import Manifest, Robot, Settings
from fleet.manifest.yaml.yaml_text import parse_document

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "manifest.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_ten_line_manifest_has_ten_lines_and_loads() -> None:
    assert len(BLOCKS[0].splitlines()) == 10
    document = parse_document(BLOCKS[0].encode())
    assert document.flaws == ()
    assert len(Manifest.model_validate(document.value, strict=True).robots) == 2


def test_the_example_of_inheritance_comes_to_what_the_page_says() -> None:
    value = parse_document(BLOCKS[1].encode()).value
    defaults = Settings.model_validate(value["defaults"], strict=True)
    groups = {name: Settings.model_validate(group, strict=True) for name, group in value["groups"].items()}
    first, second = (
        Inheritance(defaults, groups).of(Robot.model_validate(robot, strict=True)) for robot in value["robots"]
    )
    assert [(use.model, use.precision) for use in first.models] == [("people", "int8"), ("sign_text", "int8")]
    assert [(use.model, use.precision) for use in second.models] == [("sign_text", "fp16")]
    for settings in (first, second):
        assert settings.labels == {"owner": "logistics", "site": "hall-1"}
        assert settings.power_mode == "15W"
