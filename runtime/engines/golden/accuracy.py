"""Two outputs compared: cosine, relative and largest error, integers by equality; and a gate over them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.contract.engine.accuracy_gate import NOT_A_NUMBER_COSINE, NOT_A_NUMBER_ERROR, broken
from runtime.contract.engine.build import AccuracyGate, OutputAccuracy, TensorSpec
from runtime.contract.engine.model_front import StateSpec
from runtime.engines.errors import EngineError
from runtime.engines.golden.matched_rows import compare_rows

Array = npt.NDArray[Any]
Sample = Mapping[str, Array]
"""Output name → values, of one golden frame."""


@dataclass(frozen=True)
class Deviation:
    """One output of one frame against its reference."""

    cosine: float
    max_abs_error: float
    finite: bool


def compare(actual: npt.NDArray[Any], expected: npt.NDArray[Any], *, zeros_agree: bool = False) -> Deviation:
    """Compare two arrays element by element in float64, whatever their shapes' leading ones.

    Cosine is 0 when either is all zeros (an empty answer proves nothing, not even against an empty reference, unless
    ``zeros_agree``), and -1 when either holds NaN or infinity. Raises EngineError when the numbers of elements differ.
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
    if not left.size:
        return Deviation(1.0, 0.0, finite=True)  # nothing, as it should be
    scale = float(np.linalg.norm(left)) * float(np.linalg.norm(right))
    cosine = float(np.dot(left, right)) / scale if scale > 0.0 else 0.0
    if zeros_agree and not left.any() and not right.any():
        cosine = 1.0
    return Deviation(max(-1.0, min(1.0, cosine)), min(error, NOT_A_NUMBER_ERROR), finite=True)


def worst(
    actual: Sequence[Sample],
    expected: Sequence[Sample],
    free: Mapping[str, int] = MappingProxyType({}),
    *,
    zeros_agree: bool = False,
    state: Iterable[StateSpec] = (),
) -> tuple[OutputAccuracy, ...]:
    """Return for every output of ``expected`` its worst deviation over all frames. Raises EngineError.

    Integers are compared for equality: a class or a count is right or wrong, and a cosine of 756 and 882 is 1.
    ``free`` names outputs that have as many rows as are found, and their axis: rows are looked for on the other side,
    as one more moves all that come after it. ``zeros_agree``: the frames are declared to show nothing. Outputs that
    are kept as ``state`` have one shape, and may be zeros.
    """
    kept = {spec.kept for spec in state}
    found = []
    for name in expected[0]:
        ours, theirs = [each[name] for each in actual], [each[name] for each in expected]
        axis = free.get(name)
        if axis is None or name in kept:
            found.append(_of_output(name, ours, theirs, zeros_agree=zeros_agree or name in kept))
        else:
            found.append(compare_rows(name, ours, theirs, axis))
    return tuple(found)


def free_axes(outputs: Iterable[TensorSpec]) -> dict[str, int]:
    """Return the outputs of an engine whose shape depends on the frame, and the first axis that does."""
    return {spec.name: spec.shape.index(-1) for spec in outputs if -1 in spec.shape}


def _of_output(
    name: str, actual: Sequence[Array], expected: Sequence[Array], *, zeros_agree: bool = False
) -> OutputAccuracy:
    pairs = list(zip(actual, expected, strict=True))
    differences = [compare(one, other, zeros_agree=zeros_agree) for one, other in pairs]
    error = max(item.max_abs_error for item in differences)
    if all(item.finite for item in differences) and _whole(pairs[0][0]):
        share = min(_equal_share(one, other) for one, other in pairs)
        return OutputAccuracy(name, share, error, equal_share=share)
    cosine = min(item.cosine for item in differences)
    if not all(item.finite for item in differences):
        return OutputAccuracy(name, cosine, error)
    ours = np.stack([np.asarray(one, np.float64).ravel() for one, _ in pairs])
    theirs = np.stack([np.asarray(other, np.float64).ravel() for _, other in pairs])
    if ours.shape[1] == 1:
        cosine = compare(ours, theirs, zeros_agree=zeros_agree).cosine
    size = float(np.linalg.norm(theirs))
    if not theirs.size or size == 0.0:  # cosine is 0 already: an empty reference proves nothing
        return OutputAccuracy(name, cosine, error)
    worst_frame = float(np.max(np.linalg.norm(ours - theirs, axis=1)))
    relative = worst_frame / (size / float(np.sqrt(len(pairs))))
    ratio = float(np.linalg.norm(ours)) / size
    return OutputAccuracy(name, cosine, error, min(relative, NOT_A_NUMBER_ERROR), min(ratio, NOT_A_NUMBER_ERROR))


def _whole(values: Array) -> bool:
    return values.dtype.kind in "iub"


def _equal_share(actual: Array, expected: Array) -> float:
    same = np.asarray(actual).ravel() == np.asarray(expected).ravel()
    return float(np.mean(same)) if same.size else 1.0


def violation(measured: Sequence[OutputAccuracy], gate: AccuracyGate) -> str | None:
    """Return what breaks the gate, with both numbers (``cosine 0.912 < 0.970 on output 'x'``), or None."""
    for item in measured:
        if wrong := broken(item, gate):
            return wrong[0]
    return None
