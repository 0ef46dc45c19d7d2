"""Results as ROS messages, with the header of the frame they come from; a frame without findings is published too.

Boxes and classes go out as vision_msgs where that package is installed (on a robot, from apt). It is not among the
wheels for laptops and CI, and there the same facts go out as one JSON object in a std_msgs/String.
"""

from __future__ import annotations

import array
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from builtin_interfaces.msg import Time
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String

from runtime.contract.runtime_config import ModelRuntime, OutputBinding
from runtime.executor.decoders import Boxes, Classes, Mask, Result, Tensor
from runtime.executor.frames import Stamp
from runtime.executor.serving import Publish

try:
    from vision_msgs.msg import Classification as ClassificationMsg
    from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesis, ObjectHypothesisWithPose
except ImportError:
    HAS_VISION_MSGS = False
else:
    HAS_VISION_MSGS = True

NO_VISION_MSGS = "vision_msgs is not installed: boxes and classes are published as JSON in std_msgs/String"
RESULT_QOS = QoSProfile(
    depth=5,
    history=HistoryPolicy.KEEP_LAST,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.VOLATILE,
)
Build = Callable[[str, Stamp, Any], Any]
"""Model name, stamp and result → message."""


class ResultPublisher:
    """Sends the results of one output of one model."""

    def __init__(self, node: LifecycleNode, model: ModelRuntime, output: OutputBinding) -> None:
        kind, self._build = message_of(output.decoder)
        self._model = model.name
        self.publisher = node.create_lifecycle_publisher(kind, output.topic, RESULT_QOS)

    def __call__(self, stamp: Stamp, result: Result) -> None:
        """Publish one result. Runs on the worker thread."""
        self.publisher.publish(self._build(self._model, stamp, result))


def publishers(node: LifecycleNode, model: ModelRuntime) -> dict[str, Publish]:
    """Return a publisher per output topic of ``model``."""
    return {output.topic: ResultPublisher(node, model, output) for output in model.outputs}


def message_of(decoder: str) -> tuple[type[Any], Build]:
    """Return the message type of a decoder's results, and what fills it."""
    if decoder == "mask":
        return Image, mask_image
    if HAS_VISION_MSGS and decoder == "text_boxes":
        return Detection2DArray, detections
    if HAS_VISION_MSGS and decoder == "classification":
        return ClassificationMsg, classification
    return String, json_string


def header(stamp: Stamp) -> Header:
    """The frame's header, as it came."""
    return Header(stamp=Time(sec=stamp.sec, nanosec=stamp.nanosec), frame_id=stamp.frame_id)


def mask_image(model: str, stamp: Stamp, result: Mask) -> Image:
    """A class mask as mono8 image."""
    del model
    height, width = result.classes.shape
    message = Image(header=header(stamp), height=height, width=width, encoding="mono8", step=width)
    message.data = array.array("B", result.classes.tobytes())  # an ndarray here would take a thousand times longer
    return message


def json_string(model: str, stamp: Stamp, result: Result) -> String:
    """Any result as one JSON object: header, model, and ``boxes``, ``classes`` or ``shape`` and ``data``."""
    head = {"stamp": {"sec": stamp.sec, "nanosec": stamp.nanosec}, "frame_id": stamp.frame_id}
    return String(data=json.dumps({"header": head, "model": model, **_facts(result)}, separators=(",", ":")))


def _facts(result: Result) -> dict[str, Any]:
    if isinstance(result, Boxes):
        rows = zip(_short(result.corners, 2), _short(result.scores, 4), strict=True)
        return {"boxes": [{"x": x, "y": y, "w": w, "h": h, "score": s} for (x, y, w, h), s in rows]}
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


def _short(values: npt.NDArray[np.float32], digits: int) -> list[Any]:
    """As JSON numbers of few digits: 45.08, not the 45.08000183105469 that float32 comes to."""
    short: list[Any] = values.astype(np.float64).round(digits).tolist()
    return short


def detections(model: str, stamp: Stamp, result: Boxes) -> Any:
    """Boxes as vision_msgs/Detection2DArray."""
    del model
    message = Detection2DArray(header=header(stamp))
    for (left, top, width, height), score in zip(result.corners.tolist(), result.scores.tolist(), strict=True):
        hypothesis = ObjectHypothesisWithPose()
        hypothesis.hypothesis.class_id, hypothesis.hypothesis.score = result.label, score
        found = Detection2D(header=message.header, results=[hypothesis])
        found.bbox.center.position.x, found.bbox.center.position.y = left + width / 2, top + height / 2
        found.bbox.size_x, found.bbox.size_y = width, height
        message.detections.append(found)
    return message


def classification(model: str, stamp: Stamp, result: Classes) -> Any:
    """Classes as vision_msgs/Classification."""
    del model
    found = zip(result.labels, result.scores.tolist(), strict=True)
    results = [ObjectHypothesis(class_id=label, score=score) for label, score in found]
    return ClassificationMsg(header=header(stamp), results=results)
