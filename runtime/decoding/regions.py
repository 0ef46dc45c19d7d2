"""Connected regions of a binary map, with numpy alone: runs per row, joined where they touch.

A pure-Python flood fill would hold the interpreter's lock for tens of milliseconds and stall the node's callbacks;
here the work in Python does not grow with the number of pixels or runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Regions:
    """Regions of eight-connected pixels. All arrays have one entry a region; ends are exclusive."""

    left: Ints
    top: Ints
    right: Ints
    bottom: Ints
    area: Ints
    """Pixels."""
    total: npt.NDArray[np.float64]
    """Sum of the map's values over the region's pixels."""


def find_regions(values: npt.NDArray[np.float32], threshold: float) -> Regions:
    """Return the regions of ``values`` (rows, columns) that are over ``threshold``."""
    height, width = values.shape
    over = np.zeros((height, width + 1), np.int8)  # the extra column ends every row's last run
    np.greater(values, threshold, out=over[:, :width].view(np.bool_))
    edges = np.flatnonzero(np.diff(over.ravel(), prepend=np.int8(0)))
    starts, ends = edges[0::2], edges[1::2]
    if not starts.size:
        none = np.zeros(0, np.int64)
        return Regions(none, none, none, none, none, np.zeros(0))
    row, first = np.divmod(starts, width + 1)
    last = ends - row * (width + 1)
    _, region = np.unique(_join(*_touching(row, first, last), starts.size), return_inverse=True)
    return _measure(region, row, first, last, _run_sums(values, row, first, last))


def _touching(row: Ints, first: Ints, last: Ints) -> tuple[Ints, Ints]:
    """Return pairs of runs in neighbouring rows that touch, corners included."""
    stride = int(last.max()) + 2
    # Runs are sorted by row and column, so those of the next row that touch one run are a range of indices.
    below = (row + 1) * stride
    low = np.searchsorted(row * stride + last, below + first, side="left")  # last >= first of ours: corners touch
    high = np.searchsorted(row * stride + first, below + last, side="right")
    count = np.maximum(high - low, 0)
    upper = np.repeat(np.arange(row.size), count)
    offset = np.arange(upper.size) - np.repeat(np.cumsum(count) - count, count)
    return upper, np.repeat(low, count) + offset


def _join(a: Ints, b: Ints, size: int) -> Ints:
    """Return, for each of ``size`` runs, the smallest run it is connected to through the pairs ``a``-``b``."""
    label = np.arange(size)
    while True:  # every turn at least halves the trees that still have a neighbour
        one, other = label[a], label[b]
        apart = one != other
        if not apart.any():
            return label
        one, other = one[apart], other[apart]
        np.minimum.at(label, np.maximum(one, other), np.minimum(one, other))
        while True:  # point every run at its root
            shorter = label[label]
            if np.array_equal(shorter, label):
                break
            label = shorter


def _run_sums(values: npt.NDArray[np.float32], row: Ints, first: Ints, last: Ints) -> npt.NDArray[np.float64]:
    width = values.shape[1]
    bounds = np.column_stack((row * width + first, row * width + last)).ravel()
    flat = np.append(values.ravel(), np.float32(0))  # reduceat needs every bound inside
    return np.add.reduceat(flat, bounds, dtype=np.float64)[0::2]


def _measure(region: Ints, row: Ints, first: Ints, last: Ints, sums: npt.NDArray[np.float64]) -> Regions:
    order = np.argsort(region, kind="stable")
    begin = np.flatnonzero(np.diff(region[order], prepend=-1))
    return Regions(
        left=np.minimum.reduceat(first[order], begin),
        top=np.minimum.reduceat(row[order], begin),
        right=np.maximum.reduceat(last[order], begin),
        bottom=np.maximum.reduceat(row[order], begin) + 1,
        area=np.add.reduceat((last - first)[order], begin),
        total=np.add.reduceat(sums[order], begin),
    )
