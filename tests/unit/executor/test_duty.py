"""Frames looked at: evenly spread, and none when refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.executor.serving.duty import Duty


@pytest.mark.parametrize(("rate", "taken"), [(1.0, "XXXXXXXX"), (0.5, ".X.X.X.X"), (0.25, "...X...X"), (0.0, "." * 8)])
def test_a_share_is_spread_evenly(rate: float, taken: str) -> None:
    duty = Duty()
    duty.set(rate)
    assert "".join(".X"[duty.take()] for _ in range(8)) == taken


def test_refused_takes_none_and_says_why() -> None:
    duty = Duty()
    assert duty.take()
    duty.set(1.0, "not served: hot")
    assert not duty.take()
    assert duty.refused == "not served: hot"
    duty.set(1.0)
    assert duty.take()


@given(st.floats(0.01, 1.0), st.integers(1, 500))
def test_never_more_than_the_share(rate: float, frames: int) -> None:
    duty = Duty()
    duty.set(rate)
    taken = sum(duty.take() for _ in range(frames))
    assert frames * rate - 1.000001 <= taken <= frames * rate + 1e-6
