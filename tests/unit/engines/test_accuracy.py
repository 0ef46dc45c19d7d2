from __future__ import annotations

import numpy as np
import pytest

from runtime.contract.codec import canonical_json
from runtime.contract.engine.build import AccuracyGate, OutputAccuracy
from runtime.engines.errors import EngineError
from runtime.engines.golden.accuracy import compare, violation, worst


def test_equal_and_opposite() -> None:
    values = np.array([[1.0, 2.0, -3.0]], "f4")
    assert compare(values, values).cosine == pytest.approx(1.0)
    assert compare(values, -values).cosine == pytest.approx(-1.0)
    assert compare(values, values * 2).max_abs_error == pytest.approx(3.0)


def test_the_batch_axis_may_be_missing_on_one_side() -> None:
    values = np.arange(12, dtype="f4").reshape(1, 3, 4)
    assert compare(values, values[0]).cosine == pytest.approx(1.0)


def test_float16_neither_overflows_nor_loses_the_sum() -> None:
    values = np.full(10_000, 60_000, np.float16)
    assert compare(values, values).cosine == pytest.approx(1.0)


@pytest.mark.parametrize(("left", "right"), [(0, 1), (1, 0), (0, 0)])
def test_an_empty_answer_proves_nothing(left: int, right: int) -> None:
    found = compare(np.full(4, left, "f4"), np.full(4, right, "f4"))
    assert found.cosine == 0.0
    assert violation([OutputAccuracy("x", found.cosine, found.max_abs_error)], AccuracyGate(0.5)) is not None


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_fail_every_gate_and_fit_into_json(bad: float) -> None:
    sample = {"x": np.array([1.0, bad], "f4")}
    measured = worst([sample], [{"x": np.array([1.0, 2.0], "f4")}])
    assert violation(measured, AccuracyGate(-1.0)) == "output 'x' holds values that are not finite"
    assert b"NaN" not in canonical_json(measured)


def test_other_sizes_are_refused() -> None:
    with pytest.raises(EngineError, match="has 3 values, its reference 4") as caught:
        compare(np.zeros(3), np.zeros(4))
    assert caught.value.kind == "golden"


def test_the_worst_frame_counts() -> None:
    good, bad = np.array([1.0, 0.0]), np.array([0.6, 0.8])
    (found,) = worst([{"x": good}, {"x": bad}, {"x": good}], [{"x": good}] * 3)
    assert found.min_cosine == pytest.approx(0.6)
    assert found.max_abs_error == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("cosine", "error", "gate", "said"),
    [
        (0.912, 0.0, AccuracyGate(0.97), "cosine 0.912 < 0.970 on output 'x'"),
        (0.98996, 0.0, AccuracyGate(0.99), "cosine 0.98996 < 0.99000 on output 'x'"),
        (0.99, 0.5, AccuracyGate(0.9, 0.25), "largest error 0.500 > 0.250 on output 'x'"),
        (0.97, 0.25, AccuracyGate(0.97, 0.25), None),
        (float("nan"), 0.0, AccuracyGate(0.5), "cosine nan < 0.500 on output 'x'"),
    ],
)
def test_a_violation_shows_both_numbers(cosine: float, error: float, gate: AccuracyGate, said: str | None) -> None:
    assert violation([OutputAccuracy("x", cosine, error)], gate) == said
