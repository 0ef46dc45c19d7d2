"""What YAML readers disagree on is refused until it is quoted; what they agree on is that value."""

from __future__ import annotations

import math
import re
from itertools import product
from typing import Any

import pytest
import yaml

from fleet.manifest.yaml.ambiguity import ambiguity
from fleet.manifest.yaml.yaml_text import parse_document

REFUSED = [
    *("yes", "no", "on", "off", "Yes", "NO", "On", "oFF"),
    *("010", "-007", "+08", "00"),
    *("0o17", "0o7", "-0o17", "0b101", "0b1_0", "-0x1F", "+0xff"),
    *("1_000", "1_0.5", "1__0", "0x_ff", "-1_000", ".5_0", "1_0e3"),
    *("12:30:45", "1:30", "22:00", "-1:30", "190:20:30.15", "10:11:22:33:44:55", "00:30"),
    *("2026-11-29", "2026-1-2", "2026-11-29T10:00:00Z", "2026-11-29 10:00:00", "2026-11-29t10:00:00.5-05:00"),
    *(".inf", "-.INF", ".nan", ".NaN"),
    *("123456789012345678901", "0x12345678901234567890"),
]

READ = [
    ("12", 12),
    ("-3", -3),
    ("+4", 4),
    ("0", 0),
    ("0x1F", 31),
    ("1.5", 1.5),
    (".5", 0.5),
    ("1.", 1.0),
    ("1e3", 1000.0),
    ("1.5e-3", 0.0015),
    ("1.10", 1.1),
    ("true", True),
    ("False", False),
    ("null", None),
    ("~", None),
    ("1.2.3", "1.2.3"),
    ("10.0.0.11", "10.0.0.11"),
    ("22:00-06:00", "22:00-06:00"),
    ("10.0.0.11:2222", "10.0.0.11:2222"),
    ("8080:80", "8080:80"),
    ("fd00::9", "fd00::9"),
    ("30s", "30s"),
    ("5%", "5%"),
    ("2026-11", "2026-11"),
    ("1_a", "1_a"),
    ("x_1", "x_1"),
    ("0xyz", "0xyz"),
    ("..", ".."),
    ("yesterday", "yesterday"),
    ("nope", "nope"),
    ("y", "y"),
    ("n", "n"),
]


@pytest.mark.parametrize("text", REFUSED)
@pytest.mark.parametrize("form", ["key: {}", "{}: value", "key: [{}]", "key: {{a: {}}}"])
def test_what_readers_disagree_on_is_refused_with_its_line(text: str, form: str) -> None:
    document = parse_document(f"first: 1\n{form.format(text)}\n".encode())
    (flaw,) = document.flaws
    assert flaw.line == 2
    assert flaw.message == f"{text} means different things to different YAML readers"
    assert "quotes" in flaw.hint


@pytest.mark.parametrize("text", REFUSED)
@pytest.mark.parametrize("quote", ["'", '"'])
def test_in_quotes_it_is_text(text: str, quote: str) -> None:
    document = parse_document(f"key: {quote}{text}{quote}\n{quote}{text}{quote}: 1\n".encode())
    assert not document.flaws
    assert document.value == {"key": text, text: 1}


@pytest.mark.parametrize(("text", "value"), READ)
def test_the_rest_is_read_as_yaml_1_2_has_it(text: str, value: Any) -> None:
    document = parse_document(f"key: {text}\n".encode())
    assert not document.flaws
    assert document.value == {"key": value}
    assert type(document.value["key"]) is type(value)


def readings(text: str) -> set[str]:
    """Return what YAML 1.1 (PyYAML) and the core schema of 1.2 (written down from the specification) make of a text."""
    loader = yaml.SafeLoader("")
    first = loader.construct_object(yaml.ScalarNode(loader.resolve(yaml.ScalarNode, text, (True, False)), text))
    return {f"{type(first).__name__} {first}", core_schema(text)}


def core_schema(text: str) -> str:
    for pattern, make in (
        (r"[-+]?[0-9]+", int),
        (r"0o[0-7]+", lambda given: int(given, 8)),
        (r"0x[0-9a-fA-F]+", lambda given: int(given, 16)),
        (r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", float),
        (r"[-+]?(\.inf|\.Inf|\.INF)", lambda _given: math.inf),
        (r"\.nan|\.NaN|\.NAN", lambda _given: math.nan),
        (r"true|True|TRUE|false|False|FALSE", lambda given: given.lower() == "true"),
        (r"null|Null|NULL|~|", lambda _given: None),
    ):
        if re.fullmatch(pattern, text):
            value = make(text)
            return f"{type(value).__name__} {value}"
    return f"str {text}"


def test_whatever_two_readers_disagree_on_is_refused() -> None:
    """Every text of up to four of these characters, against PyYAML and 1.2's core schema.

    Without exponents, which are let be; and PyYAML makes text of ``-.5``, a number by 1.1's own page.
    """
    texts = ["".join(letters) for length in range(1, 5) for letters in product("019_:.-+xob", repeat=length)]
    let_be = re.compile(r"[-+]\.[0-9]+")
    assert [text for text in texts if not let_be.fullmatch(text) and not ambiguity(text) and _differs(text)] == []


def _differs(text: str) -> bool:
    try:
        return len(readings(text)) > 1
    except (yaml.YAMLError, ValueError):
        return False  # no plain scalar at all (`-`, `1: `), or a date that does not exist
