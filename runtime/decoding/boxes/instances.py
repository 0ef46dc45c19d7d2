"""Objects with the pixels that they cover, from mask coefficients and prototypes (YOLACT and its kin)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from runtime.contract.node.decoders import read_options
from runtime.decoding.boxes.object_boxes import Kept, class_columns, keep_boxes
from runtime.decoding.boxes.reader import BoxReader, Given, by_role
from runtime.decoding.camera_geometry import placement
from runtime.decoding.frame_boxes import Instances, View
from runtime.decoding.heads.candidates import ONE, Array, Floats, Ints, require_finite

Bytes = np.ndarray[Any, np.dtype[np.uint8]]


class InstanceDecoder:
    """``instances``: boxes as the decoder ``boxes`` finds them in ``rows``; behind each row one coefficient for each of
    the ``prototypes``. An object's mask is the sigmoid of their weighted sum, over ``mask_threshold``, inside its box.

    ``mask_size``: camera gives ids for the frame's pixels, between those of the prototypes by bilinear interpolation of
    the sums; model leaves them as large as the prototypes, bars included.
    """

    result: ClassVar[type[Any]] = Instances

    def __init__(self, options: Mapping[str, Any]) -> None:
        take = read_options("instances", options)
        self._read = BoxReader("instances", take)
        self._to_camera = take["mask_size"] == "camera"
        share = min(max(float(take["mask_threshold"]), 1e-9), 1.0 - 1e-9)
        self._least = float(np.log(share / (1.0 - share)))
        """Of the sums, before the sigmoid."""

    def __call__(self, tensor: Given, view: View) -> Instances:
        """Decode ``rows`` (1, N, 4 + C + M), of an end-to-end head (1, N, 6 + M), with ``prototypes`` (1, M, rows,
        columns). Raises ValueError."""
        given = by_role(tensor)
        prototypes = self._prototypes(given["prototypes"])
        found = self._read({ONE: given["rows"]}, view, len(prototypes))
        kept = keep_boxes(self._read, found, view)
        with np.errstate(over="ignore", invalid="ignore"):
            sums = found.extra[kept.which] @ prototypes.reshape(len(prototypes), -1)
        sums = sums.reshape(len(kept.which), *prototypes.shape[1:])
        require_finite("instances", "masks", sums)
        ids = self._in_frame(sums, kept, view) if self._to_camera else self._in_model(sums, kept, view)
        return Instances(kept.corners, kept.scores, "", kept.classes, self._read.labels, kept.capped, ids)

    def class_columns(self, tensor: Given) -> Array | None:
        """As :meth:`runtime.decoding.boxes.object_boxes.ObjectBoxes.class_columns`."""
        given = by_role(tensor)
        return class_columns(self._read, given["rows"], len(self._prototypes(given["prototypes"])))

    def _prototypes(self, given: Array) -> Floats:
        if given.ndim != 4 or given.shape[0] != 1 or not given.size or given.dtype.kind not in "fiu":
            raise ValueError(
                f"instances: tensor prototypes needs shape (1, masks, rows, columns), the output is {given.dtype} "
                f"{list(given.shape)}"
            )
        prototypes = np.asarray(given[0], np.float32)
        require_finite("instances", "prototypes", prototypes)
        return prototypes

    def _in_frame(self, sums: Floats, kept: Kept, view: View) -> Bytes:
        """Return the frame's ids, worst object first, so that the better one is on top."""
        ids = np.zeros((view.height, view.width), np.uint8)
        placed = placement(sums.shape[1:], view)
        for index in range(len(sums) - 1, -1, -1):
            columns, rows = _pixels(kept.corners[index], view)
            down = placed.top + (rows + 0.5) * (placed.height / view.height) - 0.5
            across = placed.left + (columns + 0.5) * (placed.width / view.width) - 0.5
            covered = _between(sums[index], down, across) > self._least
            ids[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1][covered] = index + 1
        return ids

    def _in_model(self, sums: Floats, kept: Kept, view: View) -> Bytes:
        """Return ids as large as the prototypes."""
        rows, columns = sums.shape[1:]
        ids = np.zeros((rows, columns), np.uint8)
        placed = placement((rows, columns), view)
        across, down = placed.width / view.width, placed.height / view.height
        middle_x, middle_y = np.arange(columns) + 0.5, np.arange(rows) + 0.5
        for index in range(len(sums) - 1, -1, -1):
            left, top, wide, high = kept.corners[index].astype(np.float64)
            x0, y0 = placed.left + left * across, placed.top + top * down
            in_box = ((middle_y >= y0) & (middle_y < y0 + high * down))[:, None] & (
                (middle_x >= x0) & (middle_x < x0 + wide * across)
            )
            ids[in_box & (sums[index] > self._least)] = index + 1
        return ids


def _pixels(corners: Floats, view: View) -> tuple[Ints, Ints]:
    """Return columns and rows of the frame's pixels whose middle lies in a box, at least one of each."""
    left, top, wide, high = (float(value) for value in corners)
    first_x, first_y = int(np.ceil(left - 0.5)), int(np.ceil(top - 0.5))
    last_x, last_y = int(np.ceil(left + wide - 0.5)), int(np.ceil(top + high - 0.5))
    first_x, first_y = min(first_x, view.width - 1), min(first_y, view.height - 1)
    return (
        np.arange(first_x, max(first_x + 1, min(last_x, view.width))),
        np.arange(first_y, max(first_y + 1, min(last_y, view.height))),
    )


def _between(plane: Floats, down: Floats, across: Floats) -> Floats:
    """Return a plane's values at rows ``down`` and columns ``across``, by bilinear interpolation, (rows, columns)."""
    rows, columns = plane.shape
    low_y, part_y = _split(down, rows)
    low_x, part_x = _split(across, columns)
    high_y, high_x = np.minimum(low_y + 1, rows - 1), np.minimum(low_x + 1, columns - 1)
    lines = plane[low_y] * (1.0 - part_y)[:, None] + plane[high_y] * part_y[:, None]
    found: Floats = lines[:, low_x] * (1.0 - part_x) + lines[:, high_x] * part_x
    return found


def _split(places: Floats, count: int) -> tuple[Ints, Floats]:
    inside = np.clip(places, 0.0, count - 1.0)
    low = np.floor(inside).astype(np.int64)
    return low, (inside - low).astype(np.float32)
