"""Unquoted text that YAML readers disagree on. Pure.

A manifest is read by `fleet`, by editors, by CI and by people's own scripts, with parsers of YAML 1.1 (PyYAML and many
others, https://yaml.org/type/) and of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema). What both read as the
same value is read as that value here. What they read differently, or what one of them turns into something that a
manifest has no use for (a date, infinity), is refused until it is quoted.

One difference is left alone: ``1e3`` is a number, as 1.2 has it; 1.1 wants ``1.0e+3``. No key takes a number and text.
"""

from __future__ import annotations

import re

READ_DIFFERENTLY = "means different things to different YAML readers"

_STARTS_A_NUMBER = frozenset("+-.0123456789")
_SWITCHES = frozenset({"yes", "no", "on", "off"})

_KINDS = (
    ("zero", r"[-+]?0[0-9]+"),
    ("base", r"[-+]?0[ob][0-9_]+|[-+]0x[0-9a-fA-F_]+"),
    ("underscore", r"(?=.*_)[-+]?(?:0x[0-9a-fA-F_]+|[0-9][0-9_]*(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)?|\.[0-9][0-9_]*)"),
    ("sixty", r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?"),
    (
        "date",
        r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}[-+:.Z0-9 \t]*)?",
    ),
    ("endless", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"),
    ("long", r"[-+]?[0-9]{21,}|0x[0-9a-fA-F]{19,}"),
)
_READ_DIFFERENTLY = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in _KINDS))


def ambiguity(text: str) -> str:
    """Return what to do about unquoted ``text`` that readers disagree on; empty when they agree."""
    if text[:1] in _STARTS_A_NUMBER:
        match = _READ_DIFFERENTLY.fullmatch(text)
        return _hint(match.lastgroup or "", text) if match else ""
    if len(text) <= 3 and text.lower() in _SWITCHES:
        return f'write true or false for a boolean, "{text}" in quotes where text is meant'
    return ""


def _hint(kind: str, text: str) -> str:
    quoted = f'"{text}" in quotes where text is meant'
    if kind == "zero":
        return f"write {quoted}, or drop the leading zero"
    if kind == "underscore":
        return f"write {text.replace('_', '')} where a number is meant, {quoted}"
    if kind == "base":
        return f"write a number in decimal digits, {quoted}"
    why = {
        "sixty": "a number in base 60",
        "date": "a date",
        "endless": "no number at all, or one without end",
        "long": "a number, which loses digits",
    }[kind]
    return f'write "{text}" in quotes: some readers make {why} of it'
