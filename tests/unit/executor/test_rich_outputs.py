"""Keypoints, instances, boxes at an angle and depth as messages, and decoders that read several tensors of a model."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from runtime.contract.node.runtime_config import InputBinding, ModelRuntime, OutputBinding
from runtime.decoding.decoders import Boxes, Depth, Instances, Keypoints, OrientedBoxes, Result
from runtime.decoding.sound import sound
from runtime.executor.inputs.frames import Stamp
from runtime.executor.inputs.synchronizer import Pending
from runtime.executor.serving.links import link
from runtime.executor.serving.pipeline import FAILED, Pipeline
from tests.unit.executor.test_outputs import STAMP, as_json, generated, messages
from tests.unit.executor.test_pipeline import FakeRunner, loader, model

__all__ = ["generated", "messages"]

pytest.importorskip("rclpy")
pytestmark = pytest.mark.filterwarnings("ignore:module 'sre_parse'", "ignore:module 'sre_constants'")

CORNERS = np.array([[10, 20, 30, 40], [1, 2, 3, 4]], np.float32)
SCORES = np.array([0.75, 0.5], np.float32)
CLASSES = np.array([1, 0])
WHAT = (CORNERS, SCORES, "", CLASSES, ("cat", "person"), 0)
POINTS = np.array([[[11, 21], [-5, 60]], [[1, 2], [3, 4]]], np.float32)
SEEN = np.array([[1, 0.25], [0.5, 0]], np.float32)
PEOPLE = Keypoints(*WHAT, POINTS, SEEN, ("nose", "left hand"))
IDS = np.array([[0, 1, 1], [2, 2, 0]], np.uint8)
THINGS = Instances(*WHAT, IDS)
TURNED = OrientedBoxes(*WHAT, np.array([[25, 40, 20, 10, 0.5], [2, 3, 4, 5, -0.25]], np.float32))


def test_keypoints_are_a_second_message_that_names_their_objects(messages: ModuleType) -> None:
    kind, build = messages.message_of(Keypoints, "m", {})
    assert kind.__name__ == "Detection2DArray"
    boxes = build(STAMP, PEOPLE)
    assert [found.id for found in boxes.detections] == ["1", "2"]
    assert [found.results[0].hypothesis.class_id for found in boxes.detections] == ["person", "cat"]
    [(word, (kind, fill))] = messages.more_of(Keypoints).items()
    points = fill(STAMP, PEOPLE)
    assert (word, kind.__name__, points.header) == ("keypoints", "Detection2DArray", boxes.header)
    said = [
        (each.id, each.results[0].hypothesis.class_id, each.bbox.center.position.x, each.bbox.center.position.y)
        for each in points.detections
    ]
    assert said == [("1", "nose", 11, 21), ("1", "left hand", -5, 60), ("2", "nose", 1, 2), ("2", "left hand", 3, 4)]
    assert [each.results[0].hypothesis.score for each in points.detections] == [1.0, 0.25, 0.5, 0.0]
    assert {(each.bbox.size_x, each.bbox.size_y) for each in points.detections} == {(0.0, 0.0)}


def test_instances_are_boxes_and_an_image_of_their_ids(messages: ModuleType) -> None:
    boxes = messages.message_of(Instances, "m", {})[1](STAMP, THINGS)
    [(word, (kind, fill))] = messages.more_of(Instances).items()
    image = fill(STAMP, THINGS)
    assert (word, kind.__name__, image.encoding, image.header) == ("mask", "Image", "mono8", boxes.header)
    assert (image.height, image.width, image.step, list(image.data)) == (2, 3, 3, [0, 1, 1, 2, 2, 0])
    assert [found.id for found in boxes.detections] == ["1", "2"]


def test_a_box_at_an_angle_has_theta(messages: ModuleType) -> None:
    message = messages.message_of(OrientedBoxes, "m", {})[1](STAMP, TURNED)
    box = message.detections[0].bbox
    assert (box.center.position.x, box.center.position.y, box.center.theta) == (25, 40, 0.5)
    assert (box.size_x, box.size_y) == (20, 10)
    upright = messages.message_of(Boxes, "m", {})[1](STAMP, Boxes(*WHAT))
    assert upright.detections[0].bbox.center.theta == 0.0


@pytest.mark.parametrize(
    ("values", "encoding", "step"),
    [
        (np.array([[1.5, np.nan, 3.0]], np.float32), "32FC1", 12),
        (np.array([[1500, 0, 65535]], np.uint16), "16UC1", 6),
    ],
)
def test_depth_is_an_image_of_metres_or_millimetres(values: Any, encoding: str, step: int) -> None:
    from runtime.executor.outputs.messages import message_of

    kind, build = message_of(Depth, "m", {})
    image = build(STAMP, Depth(values))
    assert (kind.__name__, image.encoding, image.height, image.width, image.step) == ("Image", encoding, 1, 3, step)
    assert image.is_bigendian == 0
    np.testing.assert_array_equal(np.frombuffer(bytes(image.data), values.dtype), values[0])
    assert build(STAMP, Depth(values)) is image


def test_without_vision_msgs_all_of_it_is_one_json_object() -> None:
    (person, _) = as_json(PEOPLE)["boxes"]
    assert person["keypoints"] == [
        {"name": "nose", "x": 11.0, "y": 21.0, "score": 1.0},
        {"name": "left hand", "x": -5.0, "y": 60.0, "score": 0.25},
    ]
    assert [each["instance"] for each in as_json(THINGS)["boxes"]] == [1, 2]
    turned = as_json(TURNED)["boxes"][0]["rotated"]
    assert turned == {"cx": 25.0, "cy": 40.0, "width": 20.0, "height": 10.0, "theta": 0.5}


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (replace(PEOPLE, points=POINTS[:1]), "cannot reshape"),
        (replace(THINGS, ids=IDS + np.uint8(1)), "ids reach to 3, and there are 2 boxes"),
        (replace(THINGS, ids=IDS.astype(np.int32)), "ids are int32 of shape"),
        (replace(TURNED, rotated=TURNED.rotated[:, :4]), "cannot reshape"),
        (Depth(np.zeros((2, 2), np.float16)), "values are float16 of shape [2, 2], not float32 or uint16"),  # type: ignore
    ],
)
def test_what_somebody_s_decoder_gives_must_fit_together(result: Result, says: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        sound(result)
    assert says in str(caught.value)


def test_what_fits_together_is_kept_with_its_kind() -> None:
    for result in (PEOPLE, THINGS, TURNED, Depth(np.zeros((2, 2), np.uint16))):
        assert type(sound(result)) is type(result)


# ── several tensors of one model ──


class TwoTensors(FakeRunner):
    """An engine of two outputs."""

    def infer(self) -> Mapping[str, Any]:
        del self.entered
        boxes = np.array([[[0.5, 0.5, 1.0, 1.0], [0.5, 0.5, 0.5, 0.5]]], np.float32)
        return {"pred": boxes, "logits": np.array([[[-9.0, 3.0], [-9.0, -9.0]]], np.float32)}


def detr(tensors: dict[str, str], **options: Any) -> ModelRuntime:
    given = {"head": "detr", "sigmoid": True, "classes": 2, **options}
    return replace(model(), outputs=(OutputBinding("", "~/out", "boxes", given, tensors),))


def test_a_decoder_reads_its_tensors_by_their_roles() -> None:
    seen: list[Result] = []
    pipeline = Pipeline(detr({"boxes": "pred", "scores": "logits"}), threading.Condition(), time.time_ns)
    publish = {"~/out": lambda _stamp, result: seen.append(result)}
    pipeline.slot.load(Path("unused"), publish, loader(TwoTensors()))
    pipeline.activate()
    pipeline.offer("x", Pending(Stamp(1, 5, "f"), np.zeros((2, 2, 3), np.uint8)), 0)
    pipeline.step()
    [result] = seen
    assert isinstance(result, Boxes)
    assert result.classes is not None
    assert (result.corners.tolist(), result.classes.tolist()) == ([[0.0, 0.0, 2.0, 2.0]], [1])


@pytest.mark.parametrize(
    ("tensors", "options", "says"),
    [
        ({"boxes": "pred"}, {}, "needs tensors for scores: write tensors: {boxes: NAME, scores: NAME}"),
        ({"boxes": "pred", "scores": "logits", "count": "n"}, {}, "boxes with head detr has no tensor count"),
        ({"boxes": "p", "scores": "l"}, {"head": "rows"}, "boxes with head rows reads one tensor"),
    ],
)  # fmt: skip
def test_roles_that_a_decoder_does_not_have_fail_the_model(
    tensors: dict[str, str], options: dict[str, Any], says: str
) -> None:
    pipeline = Pipeline(detr(tensors, **options), threading.Condition(), time.time_ns)
    pipeline.slot.load(Path("unused"), {"~/out": lambda *_: None}, loader(TwoTensors()))
    pipeline.activate()
    assert pipeline.state == FAILED
    assert says in pipeline.health().last_error


def test_another_model_takes_one_of_the_tensors() -> None:
    feeding = Pipeline(detr({"boxes": "pred", "scores": "logits"}), threading.Condition(), time.time_ns)
    takes = InputBinding("q", "", "", shape=(1, 2, 2), from_model="m", from_tensor="logits")
    taking = Pipeline(replace(model("n"), inputs=(takes,)), threading.Condition(), time.time_ns)
    link([feeding, taking])
    [found] = feeding.links
    assert (found.output, found.place) == (0, 1)
