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


def test_an_output_of_another_size_fails_though_its_cosine_is_1() -> None:
    values = np.array([1.0, 2.0, -3.0], "f4")
    (found,) = worst([{"x": values / 3}], [{"x": values}])
    assert found.min_cosine == pytest.approx(1.0)
    assert found.relative_error == pytest.approx(2 / 3)
    assert found.norm_ratio == pytest.approx(1 / 3)
    said = violation([found], AccuracyGate(0.999))
    assert said == "relative error 0.667 > 0.067 on output 'x' (its norm is 0.333 of the reference's)"
    assert violation([found], AccuracyGate(0.5)) == "norm 0.333 of the reference's, outside 0.5 to 2, on output 'x'"
    assert violation([found], AccuracyGate(0.999, max_relative_error=0.7)) is not None, (
        "the norm is judged all the same"
    )


def test_a_relative_error_within_what_the_cosine_allows_passes() -> None:
    values = np.random.default_rng(1).normal(size=100)
    noisy = values + np.random.default_rng(2).normal(size=100) * 0.02
    assert violation(worst([{"x": noisy}], [{"x": values}]), AccuracyGate(0.999)) is None


@pytest.mark.parametrize("shape", [(1, 1), (1,), ()])
def test_one_number_is_judged_over_the_frames_together(shape: tuple[int, ...]) -> None:
    def samples(*values: float) -> list[dict[str, np.ndarray]]:
        return [{"x": np.full(shape, value, "f4")} for value in values]

    expected = samples(882.0, 0.0, 500.0)
    assert violation(worst(samples(881.0, 0.5, 501.0), expected), AccuracyGate(0.99)) is None, "0 is an answer too"
    wrong = violation(worst(samples(756.0, 0.0, 429.0), expected), AccuracyGate(0.99))
    assert str(wrong).startswith("relative error 0.215 > 0.212")
    assert violation(worst(samples(882.0, 0.0, -500.0), expected), AccuracyGate(0.99)) is not None


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "bool"])
def test_integers_are_compared_for_equality(dtype: str) -> None:
    expected = [{"x": np.array([1], dtype)}, {"x": np.array([0], dtype)}]
    assert violation(worst(expected, expected), AccuracyGate(1.0)) is None
    (found,) = worst([{"x": np.array([1], dtype)}, {"x": np.array([1], dtype)}], expected)
    assert (found.equal_share, found.min_cosine, found.relative_error) == (0.0, 0.0, None)
    assert violation([found], AccuracyGate(0.9)) == "share of equal integers 0.000 < 0.900 on output 'x'"


def test_a_class_number_that_is_near_is_as_wrong_as_any() -> None:
    (found,) = worst([{"x": np.array([[756]])}], [{"x": np.array([[882]])}])
    assert violation([found], AccuracyGate(0.5)) is not None


def test_a_map_of_classes_may_differ_as_far_as_the_gate_says() -> None:
    expected = np.zeros((1, 10, 10), np.int64)
    actual = expected.copy()
    actual[0, 0, 0] = 3
    assert violation(worst([{"x": actual}], [{"x": expected}]), AccuracyGate(0.99)) is None
    assert violation(worst([{"x": actual}], [{"x": expected}]), AccuracyGate(0.995)) is not None


def test_an_empty_reference_proves_nothing_of_one_number_either() -> None:
    zero = [{"x": np.zeros((1, 1), "f4")}] * 3
    assert violation(worst(zero, zero), AccuracyGate(0.5)) is not None


def test_reports_of_older_builders_are_judged_by_what_they_measured() -> None:
    assert violation([OutputAccuracy("x", 0.995, 0.1)], AccuracyGate(0.99)) is None
