"""Messages and pages say what happens in the field's terms: no riddles, no words that hide who does what."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

TICS = re.compile(r"\b(?:told|nobody|somebody|beside|mend(?:s|ed|ing)?|anew|road)\b", re.IGNORECASE)
"""Say who or what it is; next to, together with; correct or repair; again; way, process."""

RIDDLES = (
    "is not believed",
    "takes no turns",
    "takes turns",
    "equals itself",
    "its bytes are",
    "said not now",
    "works no more",
    "is there and is no",
    "without being named",
    "bound no measurement",
    "of Orin, NX has",
    "the last thing was signed",
    "said nothing",
    "says nothing",
    "the way back",
    "at fault",
    "was asked for:",
    "gives other bytes",
    "has nothing for",
)
"""Phrases that a reader has to decode."""

ALLOWED = {
    "nobody reached": "an outcome in the records that are in registries",
    "nobody may attest builds": "",
    "nobody may sign a release": "",
}
"""What may stay, and why: a word of the wire format, or an explanation in parentheses."""


def messages(path: Path) -> Iterator[tuple[int, str]]:
    """Return the strings of a module that a person may read: three words or more, no docstring."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped: set[int] = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else ():
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                skipped.add(id(statement.value))
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(value) for value in node.values}
    for node in ast.walk(tree):
        text = _text(node) if id(node) not in skipped else ""
        if len(text.split()) >= 3:
            yield node.lineno, text  # type: ignore[attr-defined]


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(value.value) if isinstance(value, ast.Constant) else "…" for value in node.values)
    return ""


def flaws(text: str) -> list[str]:
    for allowed in ALLOWED:
        text = text.replace(allowed, "")
    text = re.sub(r"\]\([^)]*\)|`[^`\n]*`|https?://\S+", "", text)  # addresses and code are names, not prose
    return [*TICS.findall(text), *(phrase for phrase in RIDDLES if phrase in " ".join(text.split()))]


def test_messages_are_plain() -> None:
    folders = ("fleet", "runtime", "images", "compose")
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert len(files) > 400
    found = [
        f"{path.relative_to(ROOT)}:{line}: {flaws(text)} in {text[:100]!r}"
        for path in files
        for line, text in messages(path)
        if flaws(text)
    ]
    assert not found, "\n".join(found)


def test_pages_are_plain() -> None:
    pages = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    assert len(pages) > 20
    found = [
        f"{page.relative_to(ROOT)}:{number}: {flaws(line)} in {line[:100]!r}"
        for page in pages
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1)
        if flaws(line)
    ]
    assert not found, "\n".join(found)


def test_the_rule_finds_what_it_is_for() -> None:
    assert flaws("left where it is: nobody told it") == ["nobody", "told"]
    assert flaws("profile a is a p3767-0003, which has no DLA: of Orin, NX has") == ["of Orin, NX has"]
    assert flaws("never reached, so not rolled back") == []
    assert flaws("see [why](decisions/0013-a-dead-publisher-is-told-from-a-silent-one.md)") == []
