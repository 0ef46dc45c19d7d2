"""Results as messages: the frame's header on every one, and nothing found is a message too."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from runtime.executor.decoders import Boxes, Classes, Mask, Tensor
from runtime.executor.frames import Stamp

pytest.importorskip("rclpy")
pytestmark = pytest.mark.filterwarnings("ignore:module 'sre_parse'", "ignore:module 'sre_constants'")

STAMP = Stamp(12, 34, "camera")
HEAD = {"stamp": {"sec": 12, "nanosec": 34}, "frame_id": "camera"}
BOXES = Boxes(np.array([[45.08, 1, 2, 4], [5, 6, 7, 8]], np.float32), np.array([0.9, 0.5], np.float32), "text")


def as_json(result: Any) -> dict[str, Any]:
    from runtime.executor.outputs import json_string

    decoded: dict[str, Any] = json.loads(json_string("signs", STAMP, result).data)
    assert decoded.pop("header") == HEAD
    assert decoded.pop("model") == "signs"
    return decoded


def test_boxes_as_json() -> None:
    assert as_json(BOXES) == {
        "boxes": [
            {"x": 45.08, "y": 1.0, "w": 2.0, "h": 4.0, "score": 0.9},
            {"x": 5.0, "y": 6.0, "w": 7.0, "h": 8.0, "score": 0.5},
        ]
    }


def test_no_boxes_as_json() -> None:
    assert as_json(Boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))) == {"boxes": []}


def test_classes_and_tensors_as_json() -> None:
    classes = Classes(np.array([3]), np.array([0.75], np.float32), ("stop",))
    assert as_json(classes) == {"classes": [{"id": 3, "label": "stop", "score": 0.75}]}
    tensor = Tensor("y", np.array([[1, 2]], np.int64))
    assert as_json(tensor) == {"tensor": "y", "shape": [1, 2], "dtype": "int64", "data": [1, 2]}


def test_a_mask_is_a_mono8_image() -> None:
    from runtime.executor.outputs import mask_image, message_of

    message = mask_image("signs", STAMP, Mask(np.array([[0, 255, 7]], np.uint8)))
    assert (message.height, message.width, message.step, message.encoding) == (1, 3, 3, "mono8")
    assert list(message.data) == [0, 255, 7]
    assert (message.header.stamp.sec, message.header.stamp.nanosec, message.header.frame_id) == (12, 34, "camera")
    assert message_of("mask")[0].__name__ == "Image"


def test_boxes_as_detections_where_vision_msgs_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is in no wheel; its messages' fields are stood in for."""
    from runtime.executor import outputs

    def message(**fields: Any) -> Any:
        return SimpleNamespace(detections=[], **fields)

    def detection(**fields: Any) -> Any:
        position = SimpleNamespace(x=0.0, y=0.0)
        return SimpleNamespace(bbox=SimpleNamespace(center=SimpleNamespace(position=position)), **fields)

    def hypothesis() -> Any:
        return SimpleNamespace(hypothesis=SimpleNamespace())

    monkeypatch.setattr(outputs, "HAS_VISION_MSGS", True)
    for name, stand_in in (
        ("Detection2DArray", message),
        ("Detection2D", detection),
        ("ObjectHypothesisWithPose", hypothesis),
    ):
        monkeypatch.setattr(outputs, name, stand_in, raising=False)
    kind, build = outputs.message_of("text_boxes")
    assert kind is message
    array = build("signs", STAMP, BOXES)
    assert array.header.frame_id == "camera"
    first = array.detections[0]
    assert first.header == array.header
    assert (first.bbox.center.position.x, first.bbox.center.position.y) == pytest.approx((46.08, 3.0))
    assert (first.bbox.size_x, first.bbox.size_y) == (2.0, 4.0)
    assert first.results[0].hypothesis.class_id == "text"
    assert first.results[0].hypothesis.score == pytest.approx(0.9)
