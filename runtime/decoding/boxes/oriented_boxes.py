"""Boxes at an angle: ships from above, parcels on a belt, text in the wild."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from runtime.contract.node.decoders import read_options
from runtime.decoding.boxes.object_boxes import class_columns
from runtime.decoding.boxes.reader import BoxReader, Doubles, Found, Given, by_role
from runtime.decoding.boxes.rotated import hulls, suppress_rotated
from runtime.decoding.camera_geometry import cut, points_to_frame, scales
from runtime.decoding.frame_boxes import OrientedBoxes, View
from runtime.decoding.heads.candidates import Array, require_finite


class OrientedBoxDecoder:
    """``oriented_boxes``: centre, width, height and an angle (``angle`` says where it stands, ``angle_unit`` its unit),
    positive from x towards y. Suppression is by the boxes' true overlap, of their polygons.

    A frame that was stretched unevenly turns a rectangle into a parallelogram: the width's side and the area are kept.
    """

    result: ClassVar[type[Any]] = OrientedBoxes

    def __init__(self, options: Mapping[str, Any]) -> None:
        take = read_options("oriented_boxes", options)
        self._read = BoxReader("oriented_boxes", take)
        self._unit = np.pi / 180.0 if take["angle_unit"] == "deg" else 1.0

    def __call__(self, tensor: Given, view: View) -> OrientedBoxes:
        """Decode (1, N, 5 + C), of an end-to-end head (1, N, 7). Raises ValueError."""
        read = self._read
        found = read(by_role(tensor), view, 1)
        rotated = self._in_frame(found, view)
        around = hulls(rotated)
        inside = np.flatnonzero((cut(around, view)[:, 2:] > 0.0).all(axis=1) & (rotated[:, 2:4] > 0.0).all(axis=1))
        rotated, classes = rotated[inside], found.classes[inside]
        stay = np.arange(inside.size)
        if read.iou < 1.0:
            stay = np.flatnonzero(suppress_rotated(rotated, classes if read.by_class else None, read.iou))
        capped = max(0, stay.size - read.max_detections) + found.over
        stay = stay[: read.max_detections]
        corners = cut(around[inside[stay]], view)
        scores = found.scores[inside[stay]]
        with np.errstate(over="ignore"):
            turned = rotated[stay].astype(np.float32)
        require_finite("oriented_boxes", "coordinates", turned)
        return OrientedBoxes(corners, scores, "", classes[stay], read.labels, capped, turned)

    def class_columns(self, tensor: Given) -> Array | None:
        """As :meth:`runtime.decoding.boxes.object_boxes.ObjectBoxes.class_columns`."""
        return class_columns(self._read, tensor, 1)

    def _in_frame(self, found: Found, view: View) -> Doubles:
        """Return (n, 5): centre, sides and angle in the frame."""
        read = self._read
        sides = read.edges(found.raw, view)  # refuses sides below zero
        network = read.network(view)
        centre = points_to_frame((sides[:, :2] + sides[:, 2:]) / 2, network, view)
        wide, high = (sides[:, 2:] - sides[:, :2]).T
        angle = found.extra[:, 0].astype(np.float64) * self._unit
        across, down = scales(network, view)
        x, y = np.cos(angle) * across, np.sin(angle) * down
        stretched = np.hypot(x, y)
        turned = np.arctan2(y, x)
        turned = (turned + np.pi / 2) % np.pi - np.pi / 2  # a box looks the same from behind
        return np.stack((*centre.T, wide * stretched, high * across * down / stretched, turned), axis=1)
