"""Requests side by side, bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from fleet import parallel

#: Requests of one kind under way at once; nested (images, and blobs of an image) it is the square.
PARALLEL = 4

T = TypeVar("T")
R = TypeVar("R")


def side_by_side(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Map over a bounded pool, in order; see :func:`fleet.parallel.side_by_side`."""
    return parallel.side_by_side(work, items, workers=PARALLEL)
