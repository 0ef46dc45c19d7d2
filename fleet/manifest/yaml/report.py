"""Collect every problem of a manifest, with file, line and key path, and raise them at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from fleet.errors import ManifestError, Problem
from fleet.manifest.yaml.explain import DOCS, explain
from fleet.manifest.yaml.yaml_text import Document, KeyPath, Place, lines_of, read_document

M = TypeVar("M", bound=BaseModel)

_SALVAGE_ROUNDS = 6


@dataclass(frozen=True)
class Rows:
    """Robots that an inventory lists: where each is, and what is written there."""

    shown: str
    """A file's name, or the command that printed them."""
    first: int
    """Index that the first of them has among all robots."""
    lines: tuple[int, ...]
    """1-based."""
    values: tuple[Mapping[str, Any], ...]

    def text(self, path: KeyPath) -> str:
        """Return a value as text; empty for lists and mappings."""
        value: Any = self.values[int(path[1]) - self.first]
        for part in path[2:]:
            value = value.get(part) if isinstance(value, Mapping) else None
        return str(value) if isinstance(value, (str, int, float)) else ""


@dataclass
class SourceFile:
    """One YAML file of the manifest, as shown to the user, with its text for line numbers."""

    shown: str
    document: Document
    rows: Rows | None = None
    """Of fleet.yaml: the robots that are not in it."""
    _places: dict[KeyPath, Place] | None = field(default=None, repr=False)

    def locate(self, path: KeyPath) -> tuple[str, int, KeyPath]:
        """Return file (or command), 1-based line and path of what ``path`` means: a robot may be an inventory's row."""
        rows = self.rows
        if rows is not None and path[:1] == ("robots",) and len(path) > 1 and isinstance(path[1], int):
            row = path[1] - rows.first
            if row >= 0:
                return rows.shown, rows.lines[row], path[2:]
        return self.shown, self.line(path), path

    def line(self, path: KeyPath) -> int:
        """Return the 1-based line of the key at ``path``, or of the nearest level above it that exists."""
        return next((place.key_line for place in lines_of(self._all_places(), path)), 1)

    def text(self, path: KeyPath) -> str:
        """Return a scalar as written; empty for lists and mappings."""
        if self.rows is not None and self.locate(path)[0] == self.rows.shown:
            return self.rows.text(path)
        place = self._all_places().get(path)
        return place.text if place else ""

    def _all_places(self) -> dict[KeyPath, Place]:
        if self._places is None:
            self._places = self.document.places()
        return self._places


class Report:
    """Problems of one load."""

    def __init__(self) -> None:
        self._problems: list[tuple[int, Problem]] = []
        self._files: list[str] = []
        self._seen: set[tuple[str, int, str]] = set()
        """File, row of an inventory (else 0), path."""

    def add(self, source: SourceFile | str, path: KeyPath, message: str, hint: str, line: int | None = None) -> None:
        """Note a problem."""
        if isinstance(source, str):
            shown, line = source, line or 0
        elif line is None:
            shown, line, path = source.locate(path)
        else:
            shown = source.shown
        if shown not in self._files:
            self._files.append(shown)
        problem = Problem(shown, line, "/".join(map(str, path)), message, hint)
        in_rows = not isinstance(source, str) and shown != source.shown
        self._seen.add((shown, line if in_rows else 0, problem.path))
        self._problems.append((self._files.index(shown), problem))

    def has(self, source: SourceFile, path: KeyPath) -> bool:
        """Say whether a problem with exactly this key was noted."""
        shown, line, path = source.locate(path)
        return (shown, line if shown != source.shown else 0, "/".join(map(str, path))) in self._seen

    def raise_if_any(self) -> None:
        """Raise ManifestError with everything noted, in the order of files and lines."""
        if self._problems:
            ordered = sorted(self._problems, key=lambda item: (item[0], item[1].line))
            raise ManifestError(list(dict.fromkeys(problem for _, problem in ordered)))

    def read(self, path: Path, shown: str) -> SourceFile | None:
        """Read a YAML file; note what is wrong with its text. None when nothing can be said about its content."""
        try:
            document = read_document(path)
        except OSError as error:
            self.add(shown, (), f"cannot be read: {error.strerror or error}", "check the path and its permissions")
            return None
        source = SourceFile(shown, document)
        for flaw in document.flaws:
            self.add(source, flaw.path, flaw.message, flaw.hint, flaw.line)
        if isinstance(document.value, dict):
            return source
        if not document.flaws:
            self.add(source, (), "the file is not a mapping of `key: value`", DOCS, 1)
        return None

    def parse(self, kind: type[M], source: SourceFile, at: KeyPath = ()) -> M | None:
        """Validate what is at ``at``; note every problem. Answers with what is left without the wrong keys, so that
        the rest can be checked too, or None when too little is left.
        """
        value = _at(source.document.value, at)
        try:
            return kind.model_validate(value, strict=True)
        except ValidationError as error:
            self.note(kind, source, error, at)
            return salvage(kind, value, error)

    def note(self, kind: type[BaseModel], source: SourceFile, error: ValidationError, at: KeyPath = ()) -> None:
        """Note every problem that pydantic found."""
        for item in error.errors(include_url=False):
            loc = tuple(part for part in item["loc"] if part != "[key]")
            path = at + loc
            # Entries are there in the file: those that are wrong were noted themselves.
            emptied = item["type"] == "too_short" and len(item["input"]) >= item["ctx"]["min_length"]
            if not emptied and not self.has(source, path):
                self.add(source, path, *explain({**item, "loc": loc}, kind, source.text(path)))


def _at(value: Any, path: KeyPath) -> Any:
    for part in path:
        value = value[part]
    return value


def salvage(kind: type[M], value: Any, error: ValidationError | None = None) -> M | None:
    """Take wrong keys off a copy of ``value`` until the rest is valid; None when a key that must be there is wrong."""
    for _ in range(_SALVAGE_ROUNDS):
        for item in error.errors(include_url=False) if error else ():
            loc = tuple(part for part in item["loc"] if part != "[key]")
            value = _without(value, loc[:-1] if item["type"] == "missing" else loc)
            if value is None:
                return None
        try:
            return kind.model_validate(value, strict=True)
        except ValidationError as again:
            error = again
    return None


def _without(value: Any, loc: KeyPath) -> Any:
    """Return a copy of ``value`` without the innermost mapping key on the way along ``loc``; None when none is."""
    keys = [index for index, part in enumerate(loc) if isinstance(part, str)]
    if not keys:
        return None
    return _drop(value, loc[: keys[-1] + 1])


def _drop(value: Any, loc: KeyPath) -> Any:
    if isinstance(value, dict):
        if loc[0] not in value:
            return value
        if len(loc) == 1:
            return {key: item for key, item in value.items() if key != loc[0]}
        return {**value, loc[0]: _drop(value[loc[0]], loc[1:])}
    if isinstance(value, tuple) and isinstance(loc[0], int) and loc[0] < len(value) and len(loc) > 1:
        return (*value[: loc[0]], _drop(value[loc[0]], loc[1:]), *value[loc[0] + 1 :])
    return value
