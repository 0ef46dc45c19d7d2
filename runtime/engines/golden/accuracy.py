"""Two outputs compared: cosine similarity and largest absolute difference, and a gate over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.contract.engine.build import AccuracyGate, OutputAccuracy
from runtime.engines.errors import EngineError

Sample = Mapping[str, npt.NDArray[Any]]
"""Output name → values, of one golden frame."""

NOT_A_NUMBER_COSINE = -1.0
"""Stands for outputs that hold NaN or infinity: the worst there is, and a number that JSON can carry."""
NOT_A_NUMBER_ERROR = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Deviation:
    """One output of one frame against its reference."""

    cosine: float
    max_abs_error: float
    finite: bool


def compare(actual: npt.NDArray[Any], expected: npt.NDArray[Any]) -> Deviation:
    """Compare two arrays element by element in float64, whatever their shapes' leading ones.

    Cosine is 0 when either is all zeros (an empty answer proves nothing, not even against an empty reference), and
    -1 when either holds NaN or infinity. Raises EngineError when the numbers of elements differ.
    """
    left, right = actual.astype(np.float64).ravel(), expected.astype(np.float64).ravel()
    if left.size != right.size:
        raise EngineError(
            "golden",
            f"an output has {left.size} values, its reference {right.size} (shapes {actual.shape}, {expected.shape})",
            "make the golden data with this model's input and output shapes",
        )
    if not (np.isfinite(left).all() and np.isfinite(right).all()):
        return Deviation(NOT_A_NUMBER_COSINE, NOT_A_NUMBER_ERROR, finite=False)
    error = float(np.max(np.abs(left - right))) if left.size else 0.0
    scale = float(np.linalg.norm(left)) * float(np.linalg.norm(right))
    cosine = float(np.dot(left, right)) / scale if scale > 0.0 else 0.0
    return Deviation(max(-1.0, min(1.0, cosine)), min(error, NOT_A_NUMBER_ERROR), finite=True)


def worst(actual: Sequence[Sample], expected: Sequence[Sample]) -> tuple[OutputAccuracy, ...]:
    """Return for every output of ``expected`` its worst cosine and error over all frames. Raises EngineError."""
    result = []
    for name in expected[0]:
        differences = [compare(a[name], e[name]) for a, e in zip(actual, expected, strict=True)]
        cosine = min(item.cosine for item in differences)
        result.append(OutputAccuracy(name, cosine, max(item.max_abs_error for item in differences)))
    return tuple(result)


def violation(measured: Sequence[OutputAccuracy], gate: AccuracyGate) -> str | None:
    """Return what breaks the gate, with both numbers (``cosine 0.912 < 0.970 on output 'x'``), or None."""
    for item in measured:
        if item.max_abs_error >= NOT_A_NUMBER_ERROR:
            return f"output {item.output!r} holds values that are not finite"
        if not item.min_cosine >= gate.min_cosine:
            return f"cosine {_both(item.min_cosine, '<', gate.min_cosine)} on output {item.output!r}"
        if gate.max_abs_error is not None and not item.max_abs_error <= gate.max_abs_error:
            return f"largest error {_both(item.max_abs_error, '>', gate.max_abs_error)} on output {item.output!r}"
    return None


def _both(left: float, sign: str, right: float) -> str:
    """Format two numbers with as few digits, from three on, as show that they differ."""
    for digits in range(3, 10):
        if f"{left:.{digits}f}" != f"{right:.{digits}f}":
            return f"{left:.{digits}f} {sign} {right:.{digits}f}"
    return f"{left!r} {sign} {right!r}"
