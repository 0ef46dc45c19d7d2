"""YOLOX's output as its export script leaves it: offsets in a grid of cells, not pixels.

Source: `yolox/models/yolo_head.py` (`decode_outputs`) and `demo_postprocess` of the YOLOX project.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from runtime.decoding.heads.candidates import (
    ONE,
    Candidates,
    Floats,
    Ints,
    Size,
    Tensors,
    best,
    no_rest,
    require_scores,
    rows_of,
    sigmoid,
)


class Yolox:
    """``yolox``: x and y as offsets from a cell, width and height as logarithms, both in cells of the level's stride;
    then objectness and one score a class. Levels follow each other, row by row."""

    def __init__(self, name: str, take: Mapping[str, Any], classes: int) -> None:
        self._name, self._classes = name, classes
        self._strides: tuple[int, ...] = take["strides"]
        self._sigmoid: bool = take["sigmoid"]
        self._cells: Floats = np.zeros((0, 3), np.float32)
        self._cells_of = Size(0, 0)

    def __call__(self, tensors: Tensors, size: Size, extra: int) -> Candidates:
        """Read (1, cells of all levels, 5 + C)."""
        assert not extra
        rows = rows_of(self._name, "the output", tensors[ONE], 5 + self._classes)
        cells = self._grid(size, rows.shape[0])
        scores = np.asarray(best(rows[:, 5:]), np.float32)
        objectness = np.asarray(rows[:, 4], np.float32)
        if self._sigmoid:
            scores, objectness = sigmoid(scores), sigmoid(objectness)
        scores = scores * objectness

        def boxes(which: Ints) -> Floats:
            raw, cell = np.asarray(rows[which, :4], np.float64), cells[which]
            with np.errstate(over="ignore"):  # infinity is refused by the decoder, with every other
                found = np.concatenate((raw[:, :2] + cell[:, :2], np.exp(raw[:, 2:])), axis=1) * cell[:, 2:]
                return found.astype(np.float32)

        def classes(which: Ints) -> Ints:
            found: Ints = rows[which, 5:].argmax(axis=1).astype(np.int64)
            return found

        hint = "sigmoid and the number of classes"
        return Candidates(require_scores(self._name, scores, hint), classes, boxes, no_rest)

    def _grid(self, size: Size, count: int) -> Floats:
        """Return column, row and stride of every cell, (count, 3)."""
        if self._cells_of == size and len(self._cells) == count:
            return self._cells
        if not (size.rows and size.columns):
            raise ValueError(f"{self._name}: the configuration does not have the size of the network's input")
        levels = []
        for stride in self._strides:
            down, across = np.mgrid[: size.rows // stride, : size.columns // stride]
            levels.append(np.stack((across.ravel(), down.ravel(), np.full(down.size, stride)), axis=1))
        cells = np.concatenate(levels).astype(np.float32)
        if len(cells) != count:
            raise ValueError(
                f"{self._name} with head yolox needs {len(cells)} rows, one a cell of strides {list(self._strides)} in "
                f"{size.columns}x{size.rows} pixels, the output has {count}: check strides and the input's shape"
            )
        self._cells, self._cells_of = cells, size
        return cells
