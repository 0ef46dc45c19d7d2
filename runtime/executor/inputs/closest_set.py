"""Which frames of several inputs lie closest together. Pure: stamps in, indices out."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

Stamps = Sequence[int]
"""Nanoseconds, in order, of the frames that wait on one input."""


class Closest(NamedTuple):
    """One frame of every input."""

    spread: int
    """Nanoseconds between its first and its last stamp."""
    members: tuple[int, ...]
    """Index into each input's frames."""


def closest_set(queues: Sequence[Stamps], pivot_queue: int, pivot: int, most: int) -> Closest | None:
    """Return the set with the smallest spread, at most ``most`` nanoseconds, that holds frame ``pivot`` of input
    ``pivot_queue``; None when there is none.

    Of all sets that hold a frame, one of the smallest begins at some frame not later than it, and takes the first frame
    from there on of every other input. Of equal ones the later counts.
    """
    at = queues[pivot_queue][pivot]
    starts = {stamp for queue in queues for stamp in queue if at - most <= stamp <= at}
    best: Closest | None = None
    for start in sorted(starts):
        members = tuple(
            pivot if index == pivot_queue else bisect_left(queue, start) for index, queue in enumerate(queues)
        )
        if any(member == len(queue) for member, queue in zip(members, queues, strict=True)):
            break
        chosen = [queue[member] for member, queue in zip(members, queues, strict=True)]
        spread = max(chosen) - min(chosen)
        if spread <= (most if best is None else best.spread):
            best = Closest(spread, members)
    return best
