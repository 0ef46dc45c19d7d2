"""Results with boxes as vision_msgs/Detection2DArray.

Messages and their detections are made once and grow to the most boxes that a frame ever had (decoders have a cap):
making them for every frame costs 20 times the filling. vision_msgs is imported where a message is made: it is not on
laptops.
"""

from __future__ import annotations

from typing import Any

from runtime.decoding.decoders import Boxes, Keypoints, OrientedBoxes
from runtime.executor.inputs.frames import Stamp
from runtime.executor.outputs.filling import stamped


class _Pool:
    """One message, and as many detections as a frame ever needed."""

    def __init__(self) -> None:
        from vision_msgs import msg

        self._kinds = msg
        self.message = msg.Detection2DArray()
        self._pool: list[Any] = []

    def take(self, stamp: Stamp, count: int) -> list[Any]:
        """Put ``count`` detections into the message and return them."""
        stamped(self.message.header, stamp)
        while len(self._pool) < count:
            results = [self._kinds.ObjectHypothesisWithPose()]
            self._pool.append(self._kinds.Detection2D(header=self.message.header, results=results))
        used = self._pool[:count]
        self.message.detections = used
        return used


class Detections:
    """Boxes; those at an angle with ``theta``. ``numbered``: their ``id`` is 1, 2, 3 … so that another message of the
    same frame can name them."""

    def __init__(self, *, numbered: bool = False) -> None:
        self._pool, self._numbered = _Pool(), numbered

    def __call__(self, stamp: Stamp, result: Boxes) -> Any:
        """Fill the message."""
        used = self._pool.take(stamp, len(result.scores))
        rows = zip(used, _placed(result), result.scores.tolist(), result.names(), strict=True)
        for number, (found, (x, y, width, height, theta), score, name) in enumerate(rows, start=1):
            box, hypothesis = found.bbox, found.results[0].hypothesis
            centre = box.center.position
            centre.x, centre.y, box.center.theta = x, y, theta
            box.size_x, box.size_y = width, height
            hypothesis.class_id, hypothesis.score = name, score
            if self._numbered:
                found.id = str(number)
        return self._pool.message


class KeypointDetections:
    """Every point of every object as a detection without size: ``class_id`` is the point's name, ``score`` how visible
    it is, ``id`` the object's in the message of the boxes."""

    def __init__(self) -> None:
        self._pool = _Pool()

    def __call__(self, stamp: Stamp, result: Keypoints) -> Any:
        """Fill the message, object after object, points in the model's order."""
        names = result.points_named
        used = iter(self._pool.take(stamp, len(result.scores) * len(names)))
        rows = zip(result.points.tolist(), result.visible.tolist(), strict=True)
        for number, (points, visible) in enumerate(rows, start=1):
            for name, (x, y), score in zip(names, points, visible, strict=True):
                found = next(used)
                centre, hypothesis = found.bbox.center.position, found.results[0].hypothesis
                centre.x, centre.y = x, y
                hypothesis.class_id, hypothesis.score = name, score
                found.id = str(number)
        return self._pool.message


def _placed(result: Boxes) -> list[list[float]]:
    """Return centre x and y, width, height and angle of every box."""
    if isinstance(result, OrientedBoxes):
        rotated: list[list[float]] = result.rotated.tolist()
        return rotated
    return [
        [left + width / 2, top + height / 2, width, height, 0.0] for left, top, width, height in result.corners.tolist()
    ]
