"""What every head gives: scores of all candidates, and the rest of those that somebody asks for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Tensors = Mapping[str, Array]
"""Role → tensor. A head of one tensor finds it under :data:`ONE`."""
ONE = "tensor"
SCORE_ROUNDING = 0.01
"""A score may be this far outside 0 to 1: half precision and int8 round, and one step of int8 is 1/255."""


@dataclass(frozen=True, slots=True)
class Size:
    """Of the network's input, pixels; 0 where the configuration does not say."""

    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class Candidates:
    """Everything that a model proposes in one frame. Numbers of a candidate are read only for those that are asked."""

    scores: Floats
    """(N,): the best class's, finite, 0 to 1."""
    classes: Callable[[Ints], Ints]
    """Indices (n,) → class numbers, (n,), from 0. Raises ValueError for numbers that are no classes."""
    boxes: Callable[[Ints], Floats]
    """Indices (n,) → coordinates in the head's layout, (n, 4)."""
    rest: Callable[[Ints], Floats]
    """Indices (n,) → what else a row holds, (n, extra)."""


class Head(Protocol):
    """Reads one layout. Made once from a decoder's options."""

    def __call__(self, tensors: Tensors, size: Size, extra: int) -> Candidates:
        """Read. ``extra``: numbers of a row behind those of a box. Raises ValueError for what is not in the layout."""
        ...


class HasClassColumns(Protocol):
    """A head whose scores stand in one column a class."""

    def class_columns(self, tensors: Tensors, extra: int) -> Array:
        """Return what is read as scores, (candidates, classes), as the model gives it. Raises ValueError."""
        ...


def no_rest(which: Ints) -> Floats:
    """What heads without anything behind the box give for :attr:`Candidates.rest`."""
    return np.zeros((which.size, 0), np.float32)


def rows_of(name: str, what: str, tensor: Array, columns: int | None = None) -> Array:
    """Return a view of (1, N, columns) as (N, columns), whatever ones stand between. Raises ValueError for another
    shape, a batch, or no numbers."""
    wanted = "columns" if columns is None else str(columns)
    if tensor.dtype.kind not in "fiu":
        raise ValueError(f"{name}: {what} is {tensor.dtype}, and numbers are needed")
    before = tensor.shape[:-1]
    batch = len(before) > 1 and before[0] != 1
    if not before or batch or sum(size != 1 for size in before) > 1 or columns not in (None, tensor.shape[-1]):
        raise ValueError(f"{name}: {what} needs shape (1, candidates, {wanted}), the output has {list(tensor.shape)}")
    rows: Array = tensor.reshape(math.prod(before), tensor.shape[-1])
    return rows


def flat_of(name: str, what: str, tensor: Array, count: int) -> Array:
    """Return one number a candidate, (count,). Raises ValueError for another count."""
    if tensor.dtype.kind not in "fiu":
        raise ValueError(f"{name}: {what} is {tensor.dtype}, and numbers are needed")
    if tensor.size != count or sum(size != 1 for size in tensor.shape) > 1:
        shape = list(tensor.shape)
        raise ValueError(f"{name}: {what} needs {count} numbers, one for each box, the output has {shape}")
    return tensor.reshape(count)


def require_finite(name: str, what: str, values: Array) -> None:
    """Raise ValueError for NaN and infinity."""
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError(f"{name}: the output holds {what} that are not finite numbers")


def require_scores(name: str, scores: Floats, hint: str) -> Floats:
    """Return the scores. Raises ValueError for numbers that are none: logits, pixels, classes, and what int8 made too
    large."""
    require_finite(name, "scores", scores)
    if scores.size and not (scores.min() >= -SCORE_ROUNDING and scores.max() <= 1.0 + SCORE_ROUNDING):
        raise ValueError(
            f"{name}: the scores reach from {float(scores.min()):.4g} to {float(scores.max()):.4g}, and a score lies "
            f"between 0 and 1: check {hint}; at int8, whether the same model is right at fp32"
        )
    return scores


def class_numbers(name: str, given: Array, first: int, count: int) -> Ints:
    """Return class numbers from 0. Raises ValueError for fractions, and for numbers of no class."""
    numbers = np.asarray(given, np.float64)
    if not (np.isfinite(numbers).all() and np.array_equal(numbers, np.rint(numbers))):
        odd = numbers[~(np.isfinite(numbers) & (numbers == np.rint(numbers)))][0]
        raise ValueError(f"{name}: {odd:.4g} stands where a class number belongs: check head and the order of columns")
    if numbers.size and not (numbers.min() >= first and numbers.max() < first + count):
        raise ValueError(
            f"{name}: the class numbers reach from {int(numbers.min())} to {int(numbers.max())}, and the {count} "
            f"classes are {first} to {first + count - 1}: check labels or classes, and first_class"
        )
    found: Ints = numbers.astype(np.int64) - first
    return found


def best(scores: Array) -> Array:
    """Return the largest value of every row, NaN where there is one: by halves, which is faster than ``max(axis=1)`` of
    many short rows."""
    while scores.shape[1] > 1:
        half = scores.shape[1] // 2
        larger = np.maximum(scores[:, :half], scores[:, half : 2 * half])
        if scores.shape[1] % 2:
            np.maximum(larger[:, :1], scores[:, -1:], out=larger[:, :1])
        scores = larger
    return scores[:, 0]


def sigmoid(values: Array) -> Floats:
    """Return 1 / (1 + exp(-x))."""
    squashed: Floats = (1.0 / (1.0 + np.exp(-np.clip(np.asarray(values, np.float32), -60.0, 60.0)))).astype(np.float32)
    return squashed


def softmax(values: Array) -> Floats:
    """Return every row's shares, (N, C)."""
    raw = np.asarray(values, np.float32)
    with np.errstate(invalid="ignore", over="ignore"):  # NaN is refused with every other score
        powers = np.exp(raw - raw.max(axis=1, keepdims=True, initial=-np.inf))
        shares: Floats = powers / powers.sum(axis=1, keepdims=True)
    return shares
