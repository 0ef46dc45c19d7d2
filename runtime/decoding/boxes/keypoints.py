"""Objects with named points: people's joints, corners of parts, landmarks of faces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from runtime.contract.node.decoders import read_options
from runtime.decoding.boxes.object_boxes import class_columns, keep_boxes
from runtime.decoding.boxes.reader import BoxReader, Given, by_role
from runtime.decoding.camera_geometry import points_to_frame
from runtime.decoding.frame_boxes import Keypoints, View
from runtime.decoding.heads.candidates import Array, Floats, require_finite, require_scores, sigmoid


class KeypointBoxes:
    """``keypoints``: boxes as the decoder ``boxes`` finds them, and behind each row ``keypoint_values`` numbers a
    point: x, y, and with 3 how visible it is. Points are in the unit of the box."""

    result: ClassVar[type[Any]] = Keypoints

    def __init__(self, options: Mapping[str, Any]) -> None:
        take = read_options("keypoints", options)
        self._read = BoxReader("keypoints", take)
        self._names: tuple[str, ...] = take["keypoints"]
        self._values: int = take["keypoint_values"]
        self._sigmoid: bool = take["sigmoid"]
        self._extra = len(self._names) * self._values

    def __call__(self, tensor: Given, view: View) -> Keypoints:
        """Decode (1, N, 4 + C + K x values), of an end-to-end head (1, N, 6 + K x values). Raises ValueError."""
        found = self._read(by_role(tensor), view, self._extra)
        kept = keep_boxes(self._read, found, view)
        rows = found.extra[kept.which].reshape(len(kept.which), len(self._names), self._values)
        flat = rows[:, :, :2].reshape(-1, 2) * self._read.unit(view)[:2]
        with np.errstate(over="ignore"):
            placed = points_to_frame(flat, self._read.network(view), view).astype(np.float32)
        points = placed.reshape(*rows.shape[:2], 2)
        require_finite("keypoints", "points", points)
        return Keypoints(
            kept.corners,
            kept.scores,
            "",
            kept.classes,
            self._read.labels,
            kept.capped,
            points,
            self._visible(rows),
            self._names,
        )

    def class_columns(self, tensor: Given) -> Array | None:
        """As :meth:`runtime.decoding.boxes.object_boxes.ObjectBoxes.class_columns`."""
        return class_columns(self._read, tensor, self._extra)

    def _visible(self, rows: Floats) -> Floats:
        if self._values == 2:
            return np.ones(rows.shape[:2], np.float32)
        said = sigmoid(rows[:, :, 2]) if self._sigmoid else rows[:, :, 2]
        return require_scores("keypoints", said, "keypoints and keypoint_values, and that each point is x, y, visible")
