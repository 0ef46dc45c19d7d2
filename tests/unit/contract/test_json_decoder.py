"""What somebody else wrote is decoded within limits, or refused by one kind of error."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from runtime.contract.json_decoder import ContractError, Limits, decode, decode_object

SMALL = Limits(size=4000, depth=8, values=100, text=500)

REFUSED: dict[str, Any] = {
    "lists in lists": ("[" * 100_000, "nested deeper"),
    "lists that are closed again": ("[" * 50 + "]" * 50, "nested deeper"),
    "objects in objects": ('{"a":' * 100_000, "nested deeper"),
    "depth behind an escaped quote": ('["\\"' + "[" * 9 + '",' + "[" * 9 + "]" * 10, "nested deeper"),
    "depth behind a text that never ends": ('"' + "[" * 3000, "more than 500 characters"),
    "a long whole number": ("1" + "0" * 400, "401 digits"),
    "a long whole number inside": ('{"boot_s": -1' + "0" * 400 + "}", "digits"),
    "a long fraction": ("0." + "1" * 400, "too large or too long"),
    "a number past every float": ("1e999", "too large or too long"),
    "NaN": ("NaN", "not a JSON number"),
    "infinity": ("[-Infinity]", "not a JSON number"),
    "half a surrogate pair, escaped": ('["\\ud800"]', "half a surrogate"),
    "half a surrogate pair as a key": ('{"\\uDFFF": 1}', "half a surrogate"),
    "half a surrogate pair as it is": ('["\ud800"]', "half a surrogate"),
    "half a surrogate pair in UTF-8": (b'["\xed\xa0\x80"]', "not UTF-8"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "not UTF-8|not JSON"),
    "a key twice": ('{"a": 1, "a": 2}', "twice"),
    "a key twice, escaped": ('{"a": 1, "\\u0061": 2}', "twice"),
    "many values": ("[" + "1," * 200 + "1]", "more than 100 values"),
    "many objects": ("[" + "{}," * 200 + "{}]", "more than 100 values"),
    "a long text": (json.dumps("x" * 600), "more than 500 characters"),
    "a long document": (" " * 5000, "at most 4000"),
    "nothing": ("", "not JSON"),
    "two documents": ("{} {}", "not JSON"),
    "a control character in a text": ('"\x01"', "not JSON"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_end_a_program_is_one_kind_of_error(name: str) -> None:
    text, words = REFUSED[name]
    limits = Limits(size=10**7, depth=8) if len(text) > 4000 and "at most" not in words else SMALL
    with pytest.raises(ContractError, match=words):
        decode(text, "the report", limits)


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, -(2**63), 2**64 - 1, 0.1, 1e-300, True, None, "ü😀\x7f", ""], "b": {"": {}}},
        ['"]' * 60, "[{" * 60, "\\" * 100, ',:"'],
        [[[[[[[]]]]]]],
        "😀 is one character",
    ],
)
def test_what_fits_is_decoded_as_ever(value: Any) -> None:
    for ascii_only in (True, False):
        text = json.dumps(value, ensure_ascii=ascii_only)
        for given in (text, text.encode("utf-8", "surrogatepass")):
            assert decode(given, limits=SMALL) == json.loads(text)


def test_brackets_and_commas_in_a_text_count_for_nothing() -> None:
    assert decode(json.dumps(["[" * 400, "," * 400]), limits=SMALL) == ["[" * 400, "," * 400]


def test_an_object_is_asked_for_and_nothing_else_is_one() -> None:
    assert decode_object(b'{"a": 1}') == {"a": 1}
    with pytest.raises(ContractError, match="the answer: expected an object, got list"):
        decode_object("[]", "the answer")


def test_strings_and_keys_can_be_cleaned_on_their_way_in() -> None:
    cleaned = decode(
        '{"\\ud800k": ["\\u001b[2J", {"x": "\\ud800"}]}', clean=lambda text: text.encode("ascii", "replace").decode()
    )
    assert cleaned == {"?k": ["\x1b[2J", {"x": "?"}]}


@pytest.mark.parametrize(
    "text",
    ['"' + '\\"' * 500_000, "[" + '"\\\\",' * 200_000, '{"' * 300_000, "[]," * 300_000, '"' * 1_000_001, "\\" * 10**6],
    ids=lambda text: text[:6],
)
def test_a_hostile_megabyte_costs_no_more_than_a_good_one(text: str) -> None:
    started = time.process_time()
    with pytest.raises(ContractError):
        decode(text, limits=Limits(size=4 << 20, depth=16, values=10_000))
    assert time.process_time() - started < 5.0, "quadratic work takes minutes"
