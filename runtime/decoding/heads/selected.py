"""Graphs with non-maximum suppression inside: what it selected, or the indices of what it selected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from runtime.decoding.heads.candidates import (
    Array,
    Candidates,
    Floats,
    Size,
    Tensors,
    class_numbers,
    flat_of,
    no_rest,
    require_scores,
    rows_of,
)


class Nms:
    """``nms``: ``boxes`` (1, N, 4), ``scores`` and ``classes`` (one number a box), and where there is one ``count``,
    how many of the N are boxes. Where ``scores`` is not given, ``boxes`` has a fifth column of them."""

    def __init__(self, name: str, take: Mapping[str, Any], classes: int) -> None:
        self._name, self._classes, self._first = name, classes, int(take["first_class"])

    def __call__(self, tensors: Tensors, size: Size, extra: int) -> Candidates:
        """Read."""
        del size
        assert not extra
        rows = rows_of(self._name, "tensor boxes", tensors["boxes"], 4 if "scores" in tensors else 5)
        there = len(rows)
        scores = flat_of(self._name, "tensor scores", tensors["scores"], there) if "scores" in tensors else rows[:, 4]
        classes = flat_of(self._name, "tensor classes", tensors["classes"], there)
        count = self._count(tensors, there)
        return Candidates(
            require_scores(self._name, np.asarray(scores[:count], np.float32), "which tensor is which"),
            lambda which: class_numbers(self._name, classes[which], self._first, self._classes),
            lambda which: np.asarray(rows[which, :4], np.float32),
            no_rest,
        )

    def _count(self, tensors: Tensors, there: int) -> int:
        if "count" not in tensors:
            return there
        given = flat_of(self._name, "tensor count", tensors["count"], 1)
        number = float(given[0])
        if not (number.is_integer() and 0 <= number <= there):
            raise ValueError(f"{self._name}: tensor count is {number:.6g}, and there are {there} boxes")
        return int(number)


class NmsIndices:
    """``nms_indices``: ONNX's NonMaxSuppression as it is: ``indices`` (M, 3) of batch, class and box, into ``boxes``
    (1, N, 4) and ``scores`` (1, C, N)."""

    def __init__(self, name: str, take: Mapping[str, Any], classes: int) -> None:
        self._name, self._classes = name, classes
        self._corners = take["layout"] in ("xyxy", "yxyx")

    def __call__(self, tensors: Tensors, size: Size, extra: int) -> Candidates:
        """Read."""
        del size
        assert not extra
        boxes = rows_of(self._name, "tensor boxes", tensors["boxes"], 4)
        table = rows_of(self._name, "tensor scores", tensors["scores"], len(boxes))
        if len(table) != self._classes:
            raise ValueError(
                f"{self._name} needs scores of {self._classes} classes (1, classes, boxes), tensor scores has "
                f"{list(tensors['scores'].shape)}: check labels or classes"
            )
        chosen = self._indices(tensors["indices"], len(boxes))
        numbers, places = chosen[:, 1], chosen[:, 2]
        scores: Floats = np.asarray(table[numbers, places], np.float32)
        return Candidates(
            require_scores(self._name, scores, "which tensor is which"),
            lambda which: numbers[which],
            lambda which: self._ordered(np.asarray(boxes[places[which]], np.float32)),
            no_rest,
        )

    def _indices(self, given: Array, boxes: int) -> Array:
        chosen = rows_of(self._name, "tensor indices", given, 3)
        if chosen.dtype.kind not in "iu":
            raise ValueError(f"{self._name}: tensor indices is {chosen.dtype}, and whole numbers are needed")
        limits = np.array([1, self._classes, boxes])
        wrong = np.flatnonzero(((chosen < 0) | (chosen >= limits)).any(axis=1))
        if wrong.size:
            raise ValueError(
                f"{self._name}: tensor indices names batch, class and box {chosen[wrong[0]].tolist()}, and there are "
                f"1, {self._classes} and {boxes}"
            )
        return chosen.astype(np.int64)

    def _ordered(self, raw: Floats) -> Floats:
        """ONNX allows any two opposite corners."""
        if not self._corners:
            return raw
        return np.concatenate((np.minimum(raw[:, :2], raw[:, 2:]), np.maximum(raw[:, :2], raw[:, 2:])), axis=1)
