"""Results as messages. Each output has one message, filled again for every frame: publishing copies what is in it.

Boxes and classes are vision_msgs where that package is installed (on a robot, from apt). It is not among the wheels for
laptops and CI, and there the same facts are one JSON object in a std_msgs/String.
"""

from __future__ import annotations

import array
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from builtin_interfaces.msg import Time
from sensor_msgs.msg import Image
from std_msgs.msg import Float32MultiArray, Float64MultiArray, Header, MultiArrayDimension, String

from runtime.contract.node.decoders import TENSOR_MESSAGES
from runtime.decoding.decoders import (
    Boxes,
    Classes,
    Depth,
    Instances,
    Keypoints,
    Mask,
    OrientedBoxes,
    Result,
    Tensor,
)
from runtime.executor.inputs.frames import Stamp
from runtime.executor.outputs.detections import Detections, KeypointDetections
from runtime.executor.outputs.filling import inside, stamped
from runtime.executor.outputs.images import DepthImage, IdImage, MaskImage

try:
    from vision_msgs.msg import Classification as ClassificationMsg
    from vision_msgs.msg import Detection2DArray, ObjectHypothesis
except ImportError:
    HAS_VISION_MSGS = False
else:
    HAS_VISION_MSGS = True

NO_VISION_MSGS = "vision_msgs is not installed: boxes and classes are published as JSON in std_msgs/String"
Build = Callable[[Stamp, Any], Any]
"""Stamp and result → message, valid until the next call."""


def message_of(result: type[Any], model: str, options: Mapping[str, Any]) -> tuple[type[Any], Build]:
    """Return the message type for a decoder's results, and what fills it."""
    if result is Mask:
        return Image, MaskImage()
    if result is Depth:
        return Image, DepthImage()
    if result is Tensor and options.get("message") in TENSOR_MESSAGES:
        kind = Float64MultiArray if options["message"] == "Float64MultiArray" else Float32MultiArray
        return kind, MultiArray(kind)
    if HAS_VISION_MSGS and issubclass(result, Boxes):
        return Detection2DArray, Detections(numbered=result in (Keypoints, Instances))
    if HAS_VISION_MSGS and result is Classes:
        return ClassificationMsg, Classification()
    return String, lambda stamp, found: json_string(model, stamp, found)


def more_of(result: type[Any]) -> dict[str, tuple[type[Any], Build]]:
    """Return what a result needs beside its message: a topic's last word, message type, and what fills it."""
    if result is Instances:
        return {"mask": (Image, IdImage())}
    if result is Keypoints and HAS_VISION_MSGS:  # as JSON they are in the one message
        return {"keypoints": (Detection2DArray, KeypointDetections())}
    return {}


def header(stamp: Stamp) -> Header:
    """The frame's header, as it came."""
    return Header(stamp=Time(sec=stamp.sec, nanosec=stamp.nanosec), frame_id=stamp.frame_id)


class Classification:
    """Classes as vision_msgs/Classification."""

    def __init__(self) -> None:
        self._message = ClassificationMsg()
        self._pool: list[Any] = []

    def __call__(self, stamp: Stamp, result: Classes) -> Any:
        """Fill the message."""
        stamped(self._message.header, stamp)
        while len(self._pool) < len(result.labels):
            self._pool.append(ObjectHypothesis())
        used = self._pool[: len(result.labels)]
        for found, label, score in zip(used, result.labels, result.scores.tolist(), strict=True):
            found.class_id, found.score = label, score
        self._message.results = used
        return self._message


class MultiArray:
    """A tensor as std_msgs/Float32MultiArray or Float64MultiArray. It has no header: the first dimension's label is the
    frame's stamp and frame, ``<sec>.<nanosec> <frame_id>``, and its size is 1 (the batch)."""

    def __init__(self, kind: type[Any] = Float32MultiArray) -> None:
        self._message = kind()
        self._code, self._dtype = ("d", np.float64) if kind is Float64MultiArray else ("f", np.float32)
        self._values: npt.NDArray[Any] = np.zeros(0, self._dtype)

    def __call__(self, stamp: Stamp, result: Tensor) -> Any:
        """Fill the message. Raises ValueError for numbers that its type cannot hold."""
        shape = result.values.shape
        shape = shape if shape[:1] == (1,) else (1, *shape)
        dimensions = self._message.layout.dim
        if len(dimensions) != len(shape):
            dimensions = [MultiArrayDimension() for _ in shape]
            self._message.layout.dim = dimensions
        left = result.values.size
        for dimension, size in zip(dimensions, shape, strict=True):
            dimension.size, dimension.stride = size, left
            left //= max(1, size)
        dimensions[0].label = f"{stamp.sec}.{stamp.nanosec:09d} {stamp.frame_id}"
        if self._values.size != result.values.size:
            self._message.data = array.array(self._code, bytes(self._values.itemsize * result.values.size))
            self._values = inside(self._message.data, self._dtype)
        self._fill(result.values.ravel())
        return self._message

    def _fill(self, values: npt.NDArray[Any]) -> None:
        with np.errstate(over="ignore"):
            np.copyto(self._values, values, casting="unsafe")
        if values.dtype == self._values.dtype or not values.size:
            return
        lost = self._values != values if values.dtype.kind in "iu" else np.isfinite(values) & ~np.isfinite(self._values)
        if lost.any():
            wrong = values[int(np.argmax(lost))]
            raise ValueError(f"{wrong} is no {self._values.dtype}: publish it as Float64MultiArray or json")


def json_string(model: str, stamp: Stamp, result: Result) -> String:
    """Any result as one JSON object: header, model, and ``boxes``, ``classes`` or ``shape`` and ``data``."""
    head = {"stamp": {"sec": stamp.sec, "nanosec": stamp.nanosec}, "frame_id": stamp.frame_id}
    return String(data=json.dumps({"header": head, "model": model, **_facts(result)}, separators=(",", ":")))


def _facts(result: Result) -> dict[str, Any]:
    if isinstance(result, Boxes):
        rows = zip(_short(result.corners, 2), _short(result.scores, 4), strict=True)
        boxes = [{"x": x, "y": y, "w": w, "h": h, "score": s} for (x, y, w, h), s in rows]
        if result.classes is not None:
            for box, number, name in zip(boxes, result.classes.tolist(), result.names(), strict=True):
                box["id"], box["label"] = number, name
        for index, box in enumerate(boxes):
            box.update(_more_facts(result, index))
        return {"boxes": boxes}
    if isinstance(result, Classes):
        found = zip(result.ids.tolist(), result.labels, _short(result.scores, 4), strict=True)
        return {"classes": [{"id": i, "label": label, "score": score} for i, label, score in found]}
    if isinstance(result, Tensor):
        values = result.values
        return {
            "tensor": result.name,
            "shape": list(values.shape),
            "dtype": str(values.dtype),
            "data": values.ravel().tolist(),
        }
    raise ValueError(f"{type(result).__name__} is not published as JSON")


def _more_facts(result: Boxes, index: int) -> dict[str, Any]:
    """What a box has beyond its corners."""
    if isinstance(result, Keypoints):
        points, visible = _short(result.points[index], 2), _short(result.visible[index], 4)
        named = zip(result.points_named, points, visible, strict=True)
        return {"keypoints": [{"name": name, "x": x, "y": y, "score": score} for name, (x, y), score in named]}
    if isinstance(result, Instances):
        return {"instance": index + 1}
    if isinstance(result, OrientedBoxes):
        x, y, width, height, theta = result.rotated[index].tolist()
        sides = dict(zip(("cx", "cy", "width", "height"), (round(v, 2) for v in (x, y, width, height)), strict=True))
        return {"rotated": {**sides, "theta": round(theta, 5)}}
    return {}


def _short(values: npt.NDArray[np.float32], digits: int) -> list[Any]:
    """As JSON numbers of few digits: 45.08, not the 45.08000183105469 that float32 comes to."""
    short: list[Any] = values.astype(np.float64).round(digits).tolist()
    return short
