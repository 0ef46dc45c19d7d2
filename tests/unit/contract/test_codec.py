"""What crosses a boundary is read whole, or refused with the path of what is wrong."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Dict, Optional, Tuple  # noqa: UP035  (what robots' Python 3.8 writes)

import pytest

from runtime.contract.codec import SCHEMA, ContractError, canonical_json, from_dict, from_json


@dataclass(frozen=True)
class Inner:
    name: str
    share: float = 0.5


@dataclass(frozen=True)
class Document:
    inner: Inner
    counts: Dict[str, int]  # noqa: UP006
    items: Tuple[Inner, ...] = ()  # noqa: UP006
    old: Optional[Inner] = None  # noqa: UP045
    new: Inner | None = None
    schema: int = SCHEMA


WHOLE = Document(Inner("a"), {"x": 1}, (Inner("b", 1.0),), Inner("c"), Inner("d"))


def changed(**values: Any) -> str:
    return json.dumps({**json.loads(canonical_json(WHOLE)), **values})


def test_what_is_written_is_read() -> None:
    assert from_json(Document, canonical_json(WHOLE)) == WHOLE


def test_what_a_newer_program_added_is_left_alone_and_what_it_left_out_has_its_default() -> None:
    assert from_json(Document, '{"inner": {"name": "a", "later": 1}, "counts": {}}') == Document(Inner("a"), {})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"new": 3}, "Document.new: expected an object, got int"),
        ({"old": []}, "Document.old: expected an object, got list"),
        ({"inner": {}}, "Document.inner.name: missing"),
        ({"inner": {"name": "a", "share": "x"}}, "Document.inner.share: expected float, got str"),
        ({"inner": {"name": "a", "share": float("nan")}}, "Document: NaN is not a JSON number"),
        ({"items": [{"name": 1}]}, r"Document.items\[0\].name: expected str, got int"),
        ({"counts": {"x": True}}, "Document.counts.x: expected int, got bool"),
        ({"schema": SCHEMA + 1}, "is newer than this program understands"),
    ],
)
def test_what_is_wrong_is_named(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ContractError, match=words):
        from_json(Document, changed(**values))


def test_a_number_that_no_float_holds_is_refused_wherever_it_came_from() -> None:
    with pytest.raises(ContractError, match=r"Inner.share: expected a finite number"):
        from_dict(Inner, {"name": "a", "share": 10**400})
