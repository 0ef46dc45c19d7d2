"""Results as messages: the frame's header on every one, nothing found is a message too, and no message made twice."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from runtime.decoding.decoders import Boxes, Classes, Mask, Tensor, Velocity
from runtime.executor.inputs.frames import Stamp
from tests.fakes.nodes.vision_msgs import write_vision_msgs

pytest.importorskip("rclpy")
pytestmark = pytest.mark.filterwarnings("ignore:module 'sre_parse'", "ignore:module 'sre_constants'")

STAMP, LATER = Stamp(12, 34, "camera"), Stamp(13, 35, "other")
HEAD = {"stamp": {"sec": 12, "nanosec": 34}, "frame_id": "camera"}
BOXES = Boxes(np.array([[45.08, 1, 2, 4], [5, 6, 7, 8]], np.float32), np.array([0.9, 0.5], np.float32), "text")
FOUND = Boxes(BOXES.corners, BOXES.scores, "", np.array([1, 7]), ("car", "person"))
NONE = Boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))


def as_json(result: Any) -> dict[str, Any]:
    from runtime.executor.outputs.messages import json_string

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
    assert [(box["id"], box["label"]) for box in as_json(FOUND)["boxes"]] == [(1, "person"), (7, "7")]


def test_no_boxes_as_json() -> None:
    assert as_json(NONE) == {"boxes": []}


def test_classes_and_tensors_as_json() -> None:
    classes = Classes(np.array([3]), np.array([0.75], np.float32), ("stop",))
    assert as_json(classes) == {"classes": [{"id": 3, "label": "stop", "score": 0.75}]}
    tensor = Tensor("y", np.array([[1, 2]], np.int64))
    assert as_json(tensor) == {"tensor": "y", "shape": [1, 2], "dtype": "int64", "data": [1, 2]}


def test_what_has_a_message_of_its_own_is_not_published_as_json() -> None:
    with pytest.raises(ValueError, match="Velocity is not published as JSON"):
        as_json(Velocity((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)))


def test_a_mask_is_a_mono8_image_whose_bytes_are_reused() -> None:
    from runtime.executor.outputs.messages import message_of

    kind, build = message_of(Mask, "signs", {})
    assert kind.__name__ == "Image"
    message = build(STAMP, Mask(np.array([[0, 255, 7]], np.uint8)))
    assert (message.height, message.width, message.step, message.encoding) == (1, 3, 3, "mono8")
    assert list(message.data) == [0, 255, 7]
    assert (message.header.stamp.sec, message.header.stamp.nanosec, message.header.frame_id) == (12, 34, "camera")
    data = message.data
    again = build(LATER, Mask(np.array([[1, 2, 3]], np.uint8)))
    assert again is message
    assert again.data is data
    assert list(again.data) == [1, 2, 3]
    larger = build(LATER, Mask(np.full((2, 3), 9, np.uint8)))
    assert (larger.height, list(larger.data)) == (2, [9] * 6)


def test_a_tensor_as_multiarray_carries_its_frame_in_the_first_dimension() -> None:
    from runtime.executor.outputs.messages import message_of

    kind, build = message_of(Tensor, "m", {"message": "multiarray"})
    assert kind.__name__ == "Float32MultiArray"
    message = build(STAMP, Tensor("y", np.arange(6, dtype=np.int64).reshape(1, 2, 3)))
    assert [(one.label, one.size, one.stride) for one in message.layout.dim] == [
        ("12.000000034 camera", 1, 6), ("", 2, 6), ("", 3, 3),
    ]  # fmt: skip
    assert list(message.data) == [0, 1, 2, 3, 4, 5]
    flat = build(LATER, Tensor("y", np.array([1.5, 2.5])))
    assert [(one.label, one.size) for one in flat.layout.dim] == [("13.000000035 other", 1), ("", 2)]


def test_doubles_stay_doubles_and_what_a_float_cannot_hold_is_refused() -> None:
    from runtime.executor.outputs.messages import message_of

    kind, build = message_of(Tensor, "m", {"message": "Float64MultiArray"})
    assert kind.__name__ == "Float64MultiArray"
    assert list(build(STAMP, Tensor("y", np.array([[0.1, 1e300]]))).data) == [0.1, 1e300]
    assert list(build(STAMP, Tensor("y", np.array([[2**53]]))).data) == [2.0**53]
    _, single = message_of(Tensor, "m", {"message": "Float32MultiArray"})
    for wrong in (np.array([[1, 2**24 + 1]]), np.array([[1e39]])):
        with pytest.raises(ValueError, match="is no float32: publish it as Float64MultiArray or json"):
            single(STAMP, Tensor("y", wrong))


def test_without_vision_msgs_boxes_and_classes_are_json(monkeypatch: pytest.MonkeyPatch) -> None:
    from runtime.executor.outputs import messages

    monkeypatch.setattr(messages, "HAS_VISION_MSGS", False)
    for kind in (Boxes, Classes, Tensor):
        assert messages.message_of(kind, "m", {})[0].__name__ == "String"


# ── with vision_msgs ──


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("rosidl_generator_py")
    folder = tmp_path_factory.mktemp("ros")
    write_vision_msgs(folder)
    return folder


@pytest.fixture
def messages(generated: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module as it is where vision_msgs is installed."""
    monkeypatch.syspath_prepend(str(generated))
    path = Path(__file__).parents[3] / "runtime" / "executor" / "outputs" / "messages.py"
    spec = importlib.util.spec_from_file_location("messages_with_vision_msgs", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    for name in [name for name in sys.modules if name.split(".")[0] == "vision_msgs"]:
        del sys.modules[name]


def test_boxes_as_detections(messages: ModuleType) -> None:
    assert messages.HAS_VISION_MSGS
    kind, build = messages.message_of(Boxes, "signs", {})
    assert kind.__name__ == "Detection2DArray"
    message = build(STAMP, FOUND)
    assert (message.header.stamp.sec, message.header.stamp.nanosec, message.header.frame_id) == (12, 34, "camera")
    first, second = message.detections
    assert first.header == message.header
    assert (first.bbox.center.position.x, first.bbox.center.position.y) == pytest.approx((46.08, 3.0))
    assert (first.bbox.size_x, first.bbox.size_y) == (2.0, 4.0)
    assert [found.results[0].hypothesis.class_id for found in (first, second)] == ["person", "7"]
    assert first.results[0].hypothesis.score == pytest.approx(0.9)
    assert build(STAMP, BOXES).detections[0].results[0].hypothesis.class_id == "text"


def test_no_message_is_made_for_a_frame_once_there_were_as_many_boxes(messages: ModuleType) -> None:
    build = messages.message_of(Boxes, "signs", {})[1]
    first = build(STAMP, FOUND)
    objects = [first, *first.detections]
    empty = build(LATER, NONE)
    assert (empty is first, list(empty.detections), empty.header.stamp.sec) == (True, [], 13)
    again = build(STAMP, FOUND)
    assert all(one is other for one, other in zip([again, *again.detections], objects, strict=True))


def test_classes_as_classification(messages: ModuleType) -> None:
    kind, build = messages.message_of(Classes, "signs", {})
    assert kind.__name__ == "Classification"
    message = build(STAMP, Classes(np.array([3, 1]), np.array([0.75, 0.25], np.float32), ("stop", "go")))
    assert [(one.class_id, one.score) for one in message.results] == [("stop", 0.75), ("go", 0.25)]
    assert message.header.frame_id == "camera"
    assert build(STAMP, Classes(np.array([3]), np.array([1.0], np.float32), ("stop",))).results[0] is message.results[0]
