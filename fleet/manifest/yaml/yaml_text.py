"""Read one YAML file of a manifest: a strict, safe subset of YAML, and line numbers when an error needs them.

The file's events are turned into plain values directly. That is several times faster than PyYAML's constructors
(benchmarks/bench_plan.py), does not recurse in C (a deeply nested file is an error here, not a crash), and sees
anchors, aliases and tags before anything is built from them. Lines are found by a second pass, made only for a file
that has a problem.

The subset: one document; mappings with text keys, each once; lists; text, whole numbers, numbers, true, false, null,
as YAML 1.2 has them. What YAML 1.1 reads differently must be quoted: see `yaml_ambiguity`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
)

from fleet.manifest.yaml.ambiguity import READ_DIFFERENTLY, ambiguity

_PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's parser where PyYAML has it. Only its events are used: nothing is constructed by PyYAML."""

MAX_BYTES = 8 * 1024 * 1024
"""10,000 robots, everything spelled out for each, are about 3 MB."""
MAX_VALUES, MAX_FLAWS = 1_000_000, 100
"""Keys and values that are built, and flaws that are told: more of either is no manifest."""
MAX_DEPTH = 32
_SPLIT = "split the fleet, or move settings to groups"
_TOO_DEEP = (f"nested deeper than {MAX_DEPTH} levels", "flatten it")

KeyPath = tuple[str | int, ...]

_NUMBERISH = re.compile(r"[-+.0-9]")
_INT = re.compile(r"[-+]?[0-9]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS = {word: value for value in (True, False) for word in (str(value), str(value).lower(), str(value).upper())}
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something wrong with the text itself."""

    line: int
    path: KeyPath
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value is."""

    key_line: int
    """Line of the key (or of the value, in a list), 1-based."""
    line: int
    """Line on which the value starts."""
    text: str
    """A scalar as written, empty for mappings and lists."""


@dataclass(frozen=True, slots=True)
class Document:
    """One parsed file. ``value`` is None when the text could not be parsed at all."""

    value: Any
    flaws: tuple[Flaw, ...]
    raw: bytes

    def places(self) -> dict[KeyPath, Place]:
        """Return where every value is. A second pass over the text: only for errors."""
        places: dict[KeyPath, Place] = {}
        with contextlib.suppress(yaml.YAMLError, _TooBroken):  # what is found before the text breaks is still right
            _Builder(self.raw, places).document()
        return places


def read_document(path: Path) -> Document:
    """Read and parse a file. Every flaw is in the answer; only a file that cannot be read at all raises OSError."""
    if path.stat().st_size > MAX_BYTES:
        return _broken(0, f"the file is larger than {MAX_BYTES >> 20} MB", _SPLIT)
    with path.open("rb") as file:
        raw = file.read(MAX_BYTES + 1)
    return parse_document(raw)


def parse_document(raw: bytes) -> Document:
    """Parse the bytes of one file."""
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        return _broken(line, f"byte 0x{raw[error.start]:02x} is not UTF-8", "save the file as UTF-8")
    builder = _Builder(raw)
    try:
        value = builder.document()
    except yaml.YAMLError as error:
        return Document(None, (*builder.flaws, _syntax_flaw(error, raw)), raw)
    except _TooBroken:
        return Document(None, tuple(builder.flaws), raw)
    return Document(value, tuple(builder.flaws), raw)


def _broken(line: int, message: str, hint: str) -> Document:
    return Document(None, (Flaw(line, (), message, hint),), b"")


class _TooBroken(Exception):
    """Parsing on would not help; the reason is in the flaws."""


class _Builder:
    """Turns events into values: dicts, tuples, str, int, float, bool, None."""

    def __init__(self, raw: bytes, places: dict[KeyPath, Place] | None = None) -> None:
        self._next: Callable[[], Any] = _PARSER(raw).get_event
        self._places = places
        self._path: list[str | int] = []
        self.flaws: list[Flaw] = []
        self._values = 0

    def document(self) -> Any:
        self._next()  # the stream's start
        if type(self._next()) is StreamEndEvent:
            self._give_up(0, "the file is empty", "`fleet init` writes a first one, `fleet docs manifest` explains it")
        first = self._next()
        if type(first) is ScalarEvent and not first.value and first.implicit[0]:
            self._give_up(0, "the file is empty", "`fleet init` writes a first one, `fleet docs manifest` explains it")
        value = self._value(first, _line(first))
        self._next()  # the document's end
        after = self._next()
        if type(after) is DocumentStartEvent:
            self._give_up(_line(after), "a second document starts here (---)", "write one document a file")
        return value

    def _value(self, event: Any, key_line: int) -> Any:
        kind = type(event)
        self._values += 1
        if self._values > MAX_VALUES:
            self._give_up(_line(event), f"the file holds more than {MAX_VALUES} values", _SPLIT)
        if kind is AliasEvent or event.anchor is not None:
            self._give_up(
                _line(event),
                "anchors and aliases (&name, *name) are not supported",
                "put what robots share into defaults or groups",
            )
        if event.tag is not None and event.tag != "!":
            line = _line(event)
            self._flaw(line, f"tags ({event.tag}) are not supported", "remove it; write text in quotes")
        if self._places is not None:
            text = event.value if kind is ScalarEvent else ""
            self._places[tuple(self._path)] = Place(key_line, _line(event), text)
        if kind is ScalarEvent:
            return self._plain(event) if event.implicit[0] else event.value
        if len(self._path) >= MAX_DEPTH:
            self._give_up(_line(event), *_TOO_DEEP)
        return self._mapping() if kind is MappingStartEvent else self._sequence()

    def _mapping(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        following, path = self._next, self._path
        while type(event := following()) is not MappingEndEvent:
            line = _line(event)
            if type(event) is not ScalarEvent or event.anchor is not None:
                self._give_up(line, "a key must be plain text", "write `key: value`; lists and mappings cannot be keys")
            key = event.value
            path.append(key)
            if event.implicit[0] and (hint := ambiguity(key)):
                self._flaw(line, f"{key} {READ_DIFFERENTLY}", hint)
            if key in values:
                self._flaw(line, f"{key} is given twice", "keep one of them")
            values[key] = self._value(following(), line)
            path.pop()
        return values

    def _sequence(self) -> tuple[Any, ...]:
        values: list[Any] = []
        following, path = self._next, self._path
        while type(event := following()) is not SequenceEndEvent:
            path.append(len(values))
            values.append(self._value(event, _line(event)))
            path.pop()
        return tuple(values)

    def _plain(self, event: Any) -> Any:
        text: str = event.value
        if hint := ambiguity(text):
            self._flaw(_line(event), f"{text} {READ_DIFFERENTLY}", hint)
            return text
        return _scalar(text)

    def _flaw(self, line: int, message: str, hint: str) -> None:
        self.flaws.append(Flaw(line, tuple(self._path), message, hint))
        if len(self.flaws) >= MAX_FLAWS:
            raise _TooBroken

    def _give_up(self, line: int, message: str, hint: str) -> None:
        self._flaw(line, message, hint)
        raise _TooBroken


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _scalar(text: str) -> Any:
    if _NUMBERISH.match(text):
        if _INT.fullmatch(text):
            return int(text, 0)
        return float(text) if _FLOAT.fullmatch(text) else text
    if text in _NULLS:
        return None
    return _WORDS.get(text, text)


def _syntax_flaw(error: yaml.YAMLError, raw: bytes) -> Flaw:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = str(getattr(error, "problem", None) or getattr(error, "reason", None) or error)
    if mark is None:  # a character that YAML forbids; the position counts bytes
        position = int(getattr(error, "position", 0) or 0)
        return Flaw(raw.count(b"\n", 0, position) + 1, (), f"not YAML: {problem}", "remove the control character")
    line = min(mark.line + 1, max(1, raw.count(b"\n") + (not raw.endswith(b"\n"))))
    if _has_tab(raw, line):
        return Flaw(line, (), "a tab where YAML requires spaces", "indent with spaces, and put one space after a colon")
    if "nesting depth" in problem:  # the parser's own limit, which newer ones reach while they read ahead
        return Flaw(line, (), *_TOO_DEEP)
    return Flaw(line, (), f"not YAML: {problem}", _syntax_hint(problem))


def _has_tab(raw: bytes, line: int) -> bool:
    lines = raw.splitlines()
    return any(b"\t" in text for text in lines[max(0, line - 1) : line])


def _syntax_hint(problem: str) -> str:
    return next((hint for part, hint in _HINTS if part in problem), "check indentation, quotes and brackets near here")


_HINTS = (
    ("mapping values are not allowed", "quote text that holds `: `, and give every key its own line"),
    ("did not find expected ',' or", "a bracket or brace is not closed, or a comma is missing"),
    ("cannot start any token", "quote text that starts with %, @ or `"),
    ("unexpected end of stream", "a quote or a bracket is not closed"),
    ("could not find expected ':'", "write `key: value`, with a space after the colon"),
    ("did not find expected key", "start the keys of one mapping in the same column, and close every quote"),
)


def lines_of(places: dict[KeyPath, Place], path: KeyPath) -> Iterator[Place]:
    """Yield the place of ``path`` and then of each level above it that the file has."""
    for length in range(len(path), -1, -1):
        if (place := places.get(path[:length])) is not None:
            yield place
