"""Two releases side by side, for people: sentences, and a diff of all that they say. Pure."""

from __future__ import annotations

import difflib
import json
from typing import Any

from runtime.contract.json_decoder import decode
from runtime.contract.robot.release import ReleaseDocument

#: Lines of a diff that are shown.
MOST_LINES = 60
_WIDTH = 160


def differences(published: ReleaseDocument, wanted: ReleaseDocument) -> list[str]:
    """Say in short sentences what differs between two releases of one version."""
    found = [
        f"{name} {getattr(published, name)!r} became {getattr(wanted, name)!r}"
        for name in ("fleet", "probation")
        if getattr(published, name) != getattr(wanted, name)
    ]
    found += _robot_differences(published, wanted)
    found += _image_differences(published, wanted)
    names = sorted(set(published.compose) | set(wanted.compose))
    found += [f"{name} changed" for name in names if published.compose.get(name) != wanted.compose.get(name)]
    if published.tags != wanted.tags and not found:
        found.append("tags changed")
    return [_printable(line) for line in found] or [
        "the documents differ in a field that this version of fleet does not know"
    ]


def unified(before: str, after: str, before_name: str, after_name: str) -> list[str]:
    """Return a unified diff of two documents' JSON, at most :data:`MOST_LINES` lines; texts in it line by line."""
    lines = list(
        difflib.unified_diff(
            _lines(decode(before, before_name)),
            _lines(decode(after, after_name)),
            before_name,
            after_name,
            lineterm="",
            n=1,
        )
    )
    shown = [_printable(line)[:_WIDTH] for line in lines[:MOST_LINES]]
    return shown + ([f"… and {len(lines) - MOST_LINES} more lines"] if len(lines) > MOST_LINES else [])


def _lines(document: Any, path: str = "") -> list[str]:
    """Return a document as one line a value, with its path before it."""
    if isinstance(document, dict) and document:
        return [line for key in sorted(document) for line in _lines(document[key], f"{path}/{key}")]
    if isinstance(document, list) and document:
        return [line for at, each in enumerate(document) for line in _lines(each, f"{path}/{_name(each, at)}")]
    if isinstance(document, str) and "\n" in document:
        return [f"{path}: {line}" for line in document.splitlines()]
    return [f"{path}: {json.dumps(document, ensure_ascii=False)}"]


def _name(each: Any, at: int) -> str:
    """Name a list's entry by what it calls itself, so that one more entry does not shift all others."""
    for key in ("name", "model"):
        if isinstance(each, dict) and isinstance(each.get(key), str):
            return str(each[key])
    return str(at)


def _printable(text: str) -> str:
    """Return text that moves no cursor: what a registry holds was written by somebody."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)


def _robot_differences(published: ReleaseDocument, wanted: ReleaseDocument) -> list[str]:
    found = []
    for robot in sorted(set(published.robots) | set(wanted.robots)):
        before, after = published.robots.get(robot), wanted.robots.get(robot)
        if before != after:
            found.append(f"{robot}: {before or 'not in the fleet'} became {after or 'not in the fleet'}")
        elif published.environment.get(robot) != wanted.environment.get(robot):
            found.append(f"{robot}: its environment changed")
        elif published.secrets.get(robot) != wanted.secrets.get(robot):
            found.append(f"{robot}: where it finds its secrets changed")
        elif published.switch.get(robot) != wanted.switch.get(robot):
            found.append(f"{robot}: its rules for updates changed")
    return found[:5] + ([f"and {len(found) - 5} more robots"] if len(found) > 5 else [])


def _image_differences(published: ReleaseDocument, wanted: ReleaseDocument) -> list[str]:
    before = {variant.name: variant for variant in published.variants}
    return [
        f"variant {variant.name}: image {before[variant.name].image[-12:]} became {variant.image[-12:]}"
        for variant in wanted.variants
        if variant.name in before and before[variant.name].image != variant.image
    ]
