"""Boxes of an object detector, whatever its head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from runtime.contract.node.decoders import read_options
from runtime.decoding.boxes.reader import BoxReader, Found, Given, by_role
from runtime.decoding.camera_geometry import to_frame
from runtime.decoding.frame_boxes import Boxes, View
from runtime.decoding.heads.candidates import SCORE_ROUNDING, Array, Floats, Ints
from runtime.decoding.nms import suppress

__all__ = ["SCORE_ROUNDING", "Kept", "ObjectBoxes", "keep_boxes"]


class ObjectBoxes:
    """``boxes``: candidates over ``threshold``, thinned by class-wise suppression at ``iou``, in the frame's pixels.

    ``head`` says how candidates are laid out (`runtime/decoding/heads`), ``layout`` what their 4 coordinates are, in
    pixels of the network's input, or 0 to 1 with ``normalized``. At most ``max_candidates`` of the best candidates are
    compared with each other and ``max_detections`` are returned; what is over is counted.
    """

    result: ClassVar[type[Any]] = Boxes

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._read = BoxReader("boxes", read_options("boxes", options))

    def __call__(self, tensor: Given, view: View) -> Boxes:
        """Decode one tensor, or several by their roles. Raises ValueError for what is not in the head's layout, for
        numbers that are not finite, and when the view does not say how large the network's input is."""
        found = self._read(by_role(tensor), view)
        kept = keep_boxes(self._read, found, view)
        return Boxes(kept.corners, kept.scores, "", kept.classes, self._read.labels, kept.capped)

    def class_columns(self, tensor: Given) -> Array | None:
        """Return what is read as scores, (candidates, classes), as the model gives it; None where scores do not stand
        in a column a class. Raises ValueError."""
        return class_columns(self._read, tensor, 0)


@dataclass(frozen=True, slots=True)
class Kept:
    """What is left after suppression, best first."""

    which: Ints
    """Indices into what was found."""
    corners: Floats
    """(n, 4): left, top, width, height in pixels of the frame."""
    scores: Floats
    classes: Ints
    capped: int


def keep_boxes(read: BoxReader, found: Found, view: View) -> Kept:
    """Return the boxes that are in the frame, and that no better one covers. Raises ValueError."""
    corners = to_frame(read.edges(found.raw, view), read.network(view), view)
    inside = np.flatnonzero((corners[:, 2:] > 0.0).all(axis=1))  # width, height: something of it is in the frame
    corners, classes = corners[inside], found.classes[inside]
    if read.iou < 1.0:
        edges = np.concatenate((corners[:, :2], corners[:, :2] + corners[:, 2:]), axis=1)
        stay = np.flatnonzero(suppress(edges, classes if read.by_class else None, read.iou))
    else:
        stay = np.arange(inside.size)
    capped = max(0, stay.size - read.max_detections) + found.over
    stay = stay[: read.max_detections]
    which = inside[stay]
    return Kept(which, corners[stay], found.scores[which], classes[stay], capped)


def class_columns(read: BoxReader, tensor: Given, extra: int) -> Array | None:
    """Return a head's columns of scores, one a class; None where it has none. Raises ValueError."""
    columns = getattr(read.head, "class_columns", None)
    found: Array | None = None if columns is None else columns(by_role(tensor), extra)
    return found
