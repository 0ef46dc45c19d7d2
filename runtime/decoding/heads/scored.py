"""Boxes and class scores in two tensors: the DETR family, SSD, EfficientDet and their kin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from runtime.decoding.heads.candidates import (
    Array,
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
    softmax,
)


class Scored:
    """``detr`` and ``ssd``: ``boxes`` (1, N, 4), decoded, and ``scores`` (1, N, C), one column a class and with
    ``background`` first or last one more, which stands for nothing. Logits by ``sigmoid`` or ``softmax``."""

    def __init__(self, name: str, take: Mapping[str, Any], classes: int) -> None:
        self._name, self._classes = name, classes
        self._sigmoid, self._softmax = bool(take["sigmoid"]), bool(take["softmax"])
        self._background: str = take["background"]

    def __call__(self, tensors: Tensors, size: Size, extra: int) -> Candidates:
        """Read."""
        del size
        assert not extra
        boxes = rows_of(self._name, "tensor boxes", tensors["boxes"], 4)
        columns = self._scores(tensors)
        if len(boxes) != len(columns):
            raise ValueError(
                f"{self._name}: tensor boxes has {len(boxes)} candidates, and tensor scores has {len(columns)}"
            )
        if self._softmax:  # of all columns, the background among them
            columns = softmax(columns) if columns.size else columns
        columns = self._of_classes(columns)
        scores: Floats = np.asarray(best(columns), np.float32)
        scores = sigmoid(scores) if self._sigmoid else scores

        def classes(which: Ints) -> Ints:
            found: Ints = columns[which].argmax(axis=1).astype(np.int64)
            return found

        return Candidates(
            require_scores(self._name, scores, "sigmoid, softmax and background"),
            classes,
            lambda which: np.asarray(boxes[which], np.float32),
            no_rest,
        )

    def class_columns(self, tensors: Tensors, extra: int) -> Array:
        """Return what is read as scores, (candidates, classes), as the model gives it. Raises ValueError."""
        del extra
        return self._of_classes(self._scores(tensors))

    def _scores(self, tensors: Tensors) -> Array:
        columns = rows_of(self._name, "tensor scores", tensors["scores"])
        wanted = self._classes + (self._background != "none")
        if columns.shape[1] != wanted:
            more = " and one for the background" if self._background != "none" else ""
            raise ValueError(
                f"{self._name} needs {self._classes} scores a candidate{more}, tensor scores "
                f"{list(tensors['scores'].shape)} has {columns.shape[1]}: check labels or classes, and background"
            )
        return columns

    def _of_classes(self, columns: Array) -> Array:
        start = 1 if self._background == "first" else 0
        return columns[:, start : start + self._classes]
