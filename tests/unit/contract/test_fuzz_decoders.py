"""Bent inputs for every decoder: a few here, ten million in `long_fuzz_decoders.py`."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.contract.codec import ContractError, canonical_json
from runtime.contract.json_decoder import Limits, decode
from tests.harness.fuzz import survive
from tests.harness.fuzz_targets import targets

INPUTS = 200
SMALL = Limits(size=2000, depth=6, values=60, text=300)

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | words,
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(words, inside, max_size=4),
    max_leaves=20,
)


def test_every_decoder_survives(tmp_path: Path) -> None:
    survived = [survive(target, max(20, int(INPUTS * target.share)), seed=0) for target in targets(tmp_path)]
    assert len(survived) > 40
    assert sum(one.taken for one in survived) > 1000, "bent so much that nothing is ever taken"


@given(values)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_what_we_write_is_read(value: object) -> None:
    assert decode(canonical_json(value)) == value


@given(st.binary(max_size=300) | values.map(canonical_json))
@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_within_limits_or_refused_by_one_error(given_: bytes) -> None:
    try:
        value = decode(given_, limits=SMALL)
    except ContractError:
        return
    assert depth(value) <= SMALL.depth
    assert count(value) <= SMALL.values


def depth(value: object) -> int:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inside is None else 1 + max(map(depth, inside), default=0)


def count(value: object) -> int:
    if isinstance(value, dict):
        return sum(1 + count(item) for item in value.values())
    return sum(count(item) + 1 for item in value) if isinstance(value, list) else 0


@pytest.mark.parametrize("made", ["[" * 6 + "]" * 6, '{"a":' * 6 + "1" + "}" * 6])
def test_the_limit_itself_is_within(made: str) -> None:
    decode(made, limits=SMALL)
    with pytest.raises(ContractError, match="nested deeper"):
        decode("[" + made + "]", limits=SMALL)
