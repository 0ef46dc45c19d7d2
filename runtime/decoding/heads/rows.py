"""One candidate a row: the YOLO family's plain outputs, and those of graphs that select by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from runtime.decoding.heads.candidates import (
    ONE,
    Array,
    Candidates,
    Floats,
    Ints,
    Size,
    Tensors,
    best,
    class_numbers,
    require_scores,
    rows_of,
    sigmoid,
)

_HINT = "sigmoid, objectness, channels_first and the number of classes"


class Rows:
    """``rows``: 4 coordinates, with ``objectness`` one number that scales the scores, one score a class, then what
    else the decoder reads. ``sigmoid``: scores are logits. ``channels_first``: one candidate a column."""

    def __init__(self, name: str, take: Mapping[str, Any], classes: int) -> None:
        self._name, self._classes = name, classes
        self._first_score = 5 if take["objectness"] else 4
        self._channels_first: bool = take["channels_first"]
        self._sigmoid: bool = take["sigmoid"]
        self._angle_first = take.get("angle") == "after_box"

    def __call__(self, tensors: Tensors, size: Size, extra: int) -> Candidates:
        """Read (1, N, 4 + C + extra), or its last two dimensions swapped."""
        del size
        rows = self._rows(tensors, extra)
        first, tail = self._columns(extra)
        scores = best(rows[:, first : first + self._classes]).astype(np.float32)
        if self._sigmoid:
            scores = sigmoid(scores)
        if self._first_score == 5:
            objectness = rows[:, 4].astype(np.float32)
            scores = scores * (sigmoid(objectness) if self._sigmoid else objectness)

        def classes(which: Ints) -> Ints:
            found: Ints = rows[which, first : first + self._classes].argmax(axis=1).astype(np.int64)
            return found

        return Candidates(
            require_scores(self._name, scores, _HINT),
            classes,
            lambda which: np.asarray(rows[which, :4], np.float32),
            lambda which: np.asarray(rows[which, tail : tail + extra], np.float32),
        )

    def class_columns(self, tensors: Tensors, extra: int) -> Array:
        """Return what is read as scores, (candidates, classes), as the model gives it. Raises ValueError."""
        first, _ = self._columns(extra)
        columns: Array = self._rows(tensors, extra)[:, first : first + self._classes]
        return columns

    def _columns(self, extra: int) -> tuple[int, int]:
        """Return where scores begin, and where the rest does."""
        if self._angle_first:
            return self._first_score + extra, 4
        return self._first_score, self._first_score + self._classes

    def _rows(self, tensors: Tensors, extra: int) -> Array:
        tensor = tensors[ONE]
        rows = rows_of(self._name, "the output", tensor)
        rows = rows.T if self._channels_first else rows
        values = int(rows.shape[-1])
        if values != self._first_score + self._classes + extra:
            more = f" + {extra}" if extra else ""
            raise ValueError(
                f"{self._name} needs {self._first_score} + {self._classes}{more} values for each candidate, the output "
                f"{list(tensor.shape)} has {values}: check labels or classes, objectness and channels_first; what else "
                "a model gives is no score of a class: keypoints, mask coefficients and angles are for the decoders "
                "keypoints, instances and oriented_boxes, class numbers for head end_to_end"
            )
        return rows


class EndToEnd:
    """``end_to_end``: 4 coordinates, score, class number, then what else the decoder reads, as graphs give it that
    select by themselves (YOLOv10, YOLO26, exports with NMS inside). Rows that nothing was found for have score 0."""

    def __init__(self, name: str, take: Mapping[str, Any], classes: int) -> None:
        self._name, self._classes, self._first = name, classes, int(take["first_class"])
        self._angle_first = take.get("angle") == "after_box"

    def __call__(self, tensors: Tensors, size: Size, extra: int) -> Candidates:
        """Read (1, N, 6 + extra)."""
        del size
        tensor = tensors[ONE]
        rows = rows_of(self._name, "the output", tensor)
        if rows.shape[1] != 6 + extra:
            more = f" + {extra}" if extra else ""
            raise ValueError(
                f"{self._name} with head end_to_end needs 6{more} values for each row (box, score, class), the output "
                f"{list(tensor.shape)} has {rows.shape[1]}: check head"
            )
        score, tail = (4 + extra, 4) if self._angle_first else (4, 6)
        scores: Floats = np.asarray(rows[:, score], np.float32)
        return Candidates(
            require_scores(self._name, scores, "head, and the order of columns: box, score, class"),
            lambda which: class_numbers(self._name, rows[which, score + 1], self._first, self._classes),
            lambda which: np.asarray(rows[which, :4], np.float32),
            lambda which: np.asarray(rows[which, tail : tail + extra], np.float32),
        )
