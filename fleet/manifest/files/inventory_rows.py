"""Rows of an inventory as plain values with their lines: a CSV file, or JSON that a program printed.

What is wrong with a row is noted and the row is left out, so that all others are still checked.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

COLUMNS = ("name", "host", "group", "profile", "user", "port", "identity_file", "jump", "power_mode", "link")
"""Columns that are keys of a robot."""
NESTED = ("labels", "environment", "variables")
"""Columns such as ``labels.site``, ``environment.ROS_DOMAIN_ID`` and ``variables.dock``."""
_SPACE = re.compile(r"[\s,]*")


@dataclass(frozen=True)
class RowFlaw:
    """A row, or the whole list (line 1), that cannot be read."""

    line: int
    column: str
    message: str
    hint: str


@dataclass
class ReadRows:
    """What was found, in order."""

    lines: list[int] = field(default_factory=list)
    """1-based line on which each robot starts."""
    values: list[dict[str, Any]] = field(default_factory=list)
    flaws: list[RowFlaw] = field(default_factory=list)

    def flaw(self, line: int, message: str, hint: str, column: str = "") -> None:
        """Note what is wrong."""
        self.flaws.append(RowFlaw(line, column, message, hint))

    def add(self, line: int, value: dict[str, Any]) -> None:
        """Note a robot."""
        self.lines.append(line)
        self.values.append(value)


# ── CSV ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def rows_of_csv(content: bytes) -> ReadRows:
    """Read CSV as RFC 4180 has it: commas, a first line of column names, an empty cell for what is not given."""
    found = ReadRows()
    text = _text(content, found)
    if text is None:
        return found
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        names = [name.strip() for name in next(reader, [])]
        if not _header(names, found):
            return found
        _cells(reader, names, found)
    except csv.Error as error:
        found.flaw(reader.line_num, f"is not CSV: {error}", "close its quotes; a quote inside of a cell is doubled")
    if not found.values and not found.flaws:
        found.flaw(1, "has no robots", "write one row for each robot below the column names")
    return found


def _cells(reader: Any, names: list[str], found: ReadRows) -> None:
    before = reader.line_num
    paths = [tuple(name.split(".", 1)) for name in names]
    for cells in reader:
        line, before = before + 1, reader.line_num
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(names):
            found.flaw(line, f"has {len(cells)} cells for {len(names)} columns", "quote a cell that has a comma in it")
            continue
        if (value := _robot(paths, cells, line, found)) is not None:
            found.add(line, value)


def _robot(paths: list[tuple[str, ...]], cells: list[str], line: int, found: ReadRows) -> dict[str, Any] | None:
    robot: dict[str, Any] = {}
    for path, raw in zip(paths, cells, strict=True):
        cell = raw.strip()
        if not cell:
            continue
        if len(path) > 1:
            robot.setdefault(path[0], {})[path[1]] = cell
        elif path[0] == "port":
            if not (cell.isascii() and cell.isdigit() and len(cell) < 6):
                found.flaw(line, f"{cell[:40]!r} is no port", "write a number of at most 65535", "port")
                return None
            robot["port"] = int(cell)
        else:
            robot[path[0]] = cell
    return robot


def _header(names: list[str], found: ReadRows) -> bool:
    known = ", ".join((*COLUMNS, *(f"{each}.KEY" for each in NESTED)))
    if len(names) == 1 and (";" in names[0] or "\t" in names[0]):
        found.flaw(1, "has no commas between its columns", "save it as CSV with commas")
        return False
    missing = [name for name in ("name", "host") if name not in names]
    if missing:
        found.flaw(1, f"has no column {' and '.join(missing)}", f"the first line names the columns: {known}")
    for name in dict.fromkeys(names):
        first, dot, rest = name.partition(".")
        if name not in COLUMNS and not (first in NESTED and dot and rest):
            found.flaw(1, f"unknown column {name!r}", f"known: {known}")
        elif names.count(name) > 1:
            found.flaw(1, f"two columns are called {name}", "rename or remove one of them")
    return not found.flaws


# ── JSON ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def rows_of_json(content: bytes) -> ReadRows:
    """Read a list of robots, ``{"robots": [...]}``, or one robot after the other (JSON lines)."""
    found = ReadRows()
    text = _text(content, found)
    if text is None:
        return found
    line = 1
    at = 0
    for start, value in _values(text, found):
        line, at = line + text.count("\n", at, start), start
        if isinstance(value, dict):
            found.add(line, {key: _frozen(each) for key, each in value.items()})
        else:
            found.flaw(line, "is no robot", 'print an object for each: {"name": "amr-001", "host": "10.0.0.11"}')
    if not found.values and not found.flaws:
        found.flaw(1, "has no robots", "print one JSON object for each robot")
    return found


def _values(text: str, found: ReadRows) -> Iterator[tuple[int, Any]]:
    """Yield each robot with where it starts."""
    decoder = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_constant)
    at = _skip(text, 0)
    opened = re.compile(r'\[|\{\s*"robots"\s*:\s*\[').match(text, at)
    at = opened.end() if opened else at
    while True:
        at = _skip(text, at)
        if at >= len(text) or (opened and text[at] == "]"):
            break
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            place = error.pos if isinstance(error, json.JSONDecodeError) else at
            words = error.msg if isinstance(error, json.JSONDecodeError) else str(error)[:200] or "nested too deep"
            found.flaw(text.count("\n", 0, place) + 1, f"is not JSON: {words}", "print JSON and nothing else on stdout")
            return
        yield at, value
        at = end
    if opened and re.fullmatch(r"\]\s*}?\s*", text[at:]) is None:
        line = text.count("\n", 0, at) + 1
        found.flaw(line, "is not JSON: the list is open, or something follows it", "print one list and nothing else")


def _skip(text: str, at: int) -> int:
    """Return where the next value begins: past space and a comma."""
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} is given twice")
    return made


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _frozen(value: Any) -> Any:
    """Return lists as tuples: the manifest's types take nothing else."""
    if isinstance(value, list):
        return tuple(_frozen(each) for each in value)
    if isinstance(value, dict):
        return {key: _frozen(each) for key, each in value.items()}
    return value


def _text(content: bytes, found: ReadRows) -> str | None:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found.flaw(line, f"byte 0x{content[error.start]:02x} is not UTF-8", "save or print it as UTF-8")
        return None
