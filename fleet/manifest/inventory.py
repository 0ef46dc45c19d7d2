"""Robots of an inventory, held against the same rules as those of fleet.yaml; problems name their row's line."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from fleet.manifest.draft import Draft
from fleet.manifest.files.inventory_rows import ReadRows, rows_of_csv, rows_of_json
from fleet.manifest.files.named_files import inside, why_no_file
from fleet.manifest.schema.manifest_schema import Inventory, Robot
from fleet.manifest.yaml.report import Report, Rows, SourceFile, salvage
from fleet.manifest.yaml.yaml_text import MAX_BYTES
from fleet.programs import ProgramFailed, run_program

_ROBOTS: TypeAdapter[tuple[Robot, ...]] = TypeAdapter(tuple[Robot, ...])


def with_inventory(draft: Draft, source: SourceFile, report: Report) -> Draft:
    """Return the draft with the robots of its inventory after its own; note every problem of every row.

    The inventory is read once: what comes of it is in the manifest from then on.
    """
    if draft.inventory is None:
        return draft
    listed = source.document.value.get("robots")
    first = len(listed) if isinstance(listed, tuple) else 0
    found = _read(draft.inventory, source, report)
    if found is None:
        return dataclasses.replace(draft, manifest=None, complete=False)
    shown, rows = found
    source.rows = Rows(shown, first, tuple(rows.lines), tuple(rows.values))
    for flaw in rows.flaws:
        report.add(shown, (flaw.column,) if flaw.column else (), flaw.message, flaw.hint, flaw.line)
    robots = _robots(rows.values, first, source, report)
    merged = {**draft.robots, **robots}
    whole = draft.manifest is not None and not rows.flaws and len(robots) == len(rows.values)
    manifest = draft.manifest if whole else None
    if manifest is not None:
        manifest = manifest.model_copy(update={"robots": tuple(merged.values())})
    return dataclasses.replace(draft, manifest=manifest, robots=merged, complete=draft.complete and whole)


def _robots(values: list[dict[str, Any]], first: int, source: SourceFile, report: Report) -> dict[int, Robot]:
    """Validate all rows at once, which is much faster than one by one; go through them again where one is wrong."""
    try:
        return dict(enumerate(_ROBOTS.validate_python(tuple(values), strict=True), start=first))
    except ValidationError:
        pass
    checked = ((index, _robot(index, value, source, report)) for index, value in enumerate(values, start=first))
    return {index: robot for index, robot in checked if robot is not None}


def _robot(index: int, value: dict[str, Any], source: SourceFile, report: Report) -> Robot | None:
    try:
        return Robot.model_validate(value, strict=True)
    except ValidationError as error:
        report.note(Robot, source, error, ("robots", index))
        return salvage(Robot, value, error)


def _read(inventory: Inventory, source: SourceFile, report: Report) -> tuple[str, ReadRows] | None:
    root = Path(source.shown).parent
    if inventory.command is not None:
        try:
            printed = run_program(inventory.command, root, inventory.timeout)
        except ProgramFailed as error:
            report.add(source, ("inventory", "command"), f"`{inventory.command}` {error.message}", error.hint)
            return None
        return f"`{inventory.command}`", rows_of_json(printed)
    assert inventory.csv is not None, "an inventory has one of the two"
    file = inside(root, root, inventory.csv)
    if file is None:
        hint = "move it below the folder of fleet.yaml: that folder is what is reviewed and copied"
        report.add(source, ("inventory", "csv"), f"{inventory.csv} is outside of the manifest's folder", hint)
        return None
    if why := why_no_file(file):
        report.add(source, ("inventory", "csv"), f"{file} {why}", "name a CSV file, relative to fleet.yaml")
        return None
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
    except OSError as error:
        report.add(source, ("inventory", "csv"), f"{file} cannot be read: {error.strerror}", "check its permissions")
        return None
    if len(content) > MAX_BYTES:
        report.add(source, ("inventory", "csv"), f"{file} is larger than {MAX_BYTES >> 20} MB", "split the fleet")
        return None
    return str(file), rows_of_csv(content)
