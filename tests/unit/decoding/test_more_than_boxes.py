"""Keypoints, instances, boxes at an angle and depth against plain arithmetic."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from runtime.decoding.boxes.rotated import rotated_overlaps, suppress_rotated
from runtime.decoding.decoders import Depth, Instances, Keypoints, OptionError, OrientedBoxes, View, decoder_named
from tests.unit.decoding import plain_numpy as plain
from tests.unit.decoding.plain_numpy import Fitted
from tests.unit.decoding.test_heads import SHOWN, as_layout, is_in_frame, places, same, view_of

POINTS = ["nose", "left hand", "right hand"]
CLASSES = 2


def by_id(fitted: Fitted) -> str:
    return f"{fitted.width}x{fitted.height} {fitted.bars}"


@pytest.mark.parametrize("fitted", SHOWN, ids=by_id)
@pytest.mark.parametrize("head", ["rows", "end_to_end"])
@pytest.mark.parametrize("values", [2, 3])
def test_keypoints(fitted: Fitted, head: str, values: int) -> None:
    random = np.random.default_rng(3)
    boxes, shares = places(random, fitted, 30), random.uniform(0, 1, (30, CLASSES)).astype("f4")
    points = random.uniform(-10, 200, (30, len(POINTS), 2)).astype("f4")
    visible = random.uniform(0, 1, (30, len(POINTS), 1)).astype("f4")
    behind = np.concatenate((points, visible), axis=2)[:, :, :values].reshape(30, -1)
    numbers = shares.argmax(axis=1)
    if head == "rows":
        table = np.concatenate((as_layout(boxes, "cxcywh", fitted, False), shares, behind), axis=1).T[None]
        options: dict[str, Any] = {"channels_first": True}
    else:
        table = np.concatenate((boxes, shares.max(axis=1)[:, None], numbers[:, None], behind), axis=1)[None]
        options = {"head": "end_to_end"}
    names = {"keypoints": POINTS, "keypoint_values": values, "classes": CLASSES, "max_detections": 1000}
    result = decoder_named("keypoints", {**options, **names})(table.astype("f4"), view_of(fitted))
    assert isinstance(result, Keypoints)
    found = [
        plain.candidate(fitted, box, share.max(), share.argmax(), points=point, visible=seen)
        for box, share, point, seen in zip(boxes, shares, points, visible[..., 0], strict=True)
        if share.max() >= 0.25
    ]
    found = [each for each in found if is_in_frame(each["box"])]
    expected = plain.thinned(found, 0.45) if head == "rows" else sorted(found, key=lambda each: -each["score"])
    same(result, expected)
    assert result.points_named == tuple(POINTS)
    for one, own, seen in zip(expected, result.points, result.visible, strict=True):
        np.testing.assert_allclose(own, [fitted.point(*map(float, point)) for point in one["points"]], atol=0.5)
        np.testing.assert_allclose(seen, one["visible"] if values == 3 else 1.0, atol=0.005)


def test_the_number_of_keypoints_names_them_and_normalized_is_of_them_too() -> None:
    row = np.array([[[0.5, 0.5, 0.2, 0.2, 0.9, 0.25, 0.75, 0.1]]], "f4")
    options = {"keypoints": 1, "classes": 1, "normalized": True}
    result = decoder_named("keypoints", options)(row, View(100, 200, network_height=50, network_width=50))
    assert isinstance(result, Keypoints)
    assert result.points_named == ("0",)
    np.testing.assert_allclose(result.points, [[[50.0, 75.0]]], atol=1e-3)


@pytest.mark.parametrize("fitted", SHOWN, ids=by_id)
@pytest.mark.parametrize("head", ["rows", "end_to_end"])
def test_instances(fitted: Fitted, head: str) -> None:
    random = np.random.default_rng(5)
    prototypes = random.normal(size=(4, fitted.network_height // 4, fitted.network_width // 4)).astype("f4")
    boxes, weights = places(random, fitted, 8), random.normal(size=(8, 4)).astype("f4")
    shares = random.uniform(0.3, 1, (8, 1)).astype("f4")
    first = (as_layout(boxes, "cxcywh", fitted, False), shares, weights)
    ended = (boxes, shares, np.zeros((8, 1)), weights)
    table = np.concatenate(first if head == "rows" else ended, axis=1).astype("f4")[None]
    options = {"head": head, "classes": 1, "iou": 0.45}
    tensors = {"rows": table, "prototypes": prototypes[None]}
    result = decoder_named("instances", options)(tensors, view_of(fitted))
    assert isinstance(result, Instances)
    found = [
        plain.candidate(fitted, box, share[0], 0, sums=np.tensordot(weight, prototypes, 1))
        for box, share, weight in zip(boxes, shares, weights, strict=True)
    ]
    expected = plain.thinned([each for each in found if is_in_frame(each["box"])], 0.45)
    same(result, expected)
    assert result.ids.shape == (fitted.height, fitted.width)
    assert set(np.unique(result.ids)) <= set(range(len(expected) + 1))
    for y in range(0, fitted.height, 3):
        for x in range(0, fitted.width, 3):
            sure, owner = pixel(fitted, expected, x, y)
            if sure:
                assert result.ids[y, x] == owner, (x, y)


def pixel(fitted: Fitted, expected: list[dict[str, Any]], x: int, y: int) -> tuple[bool, int]:
    """Return whether rounding cannot decide, and whose pixel it is: the first whose sum is over 0 there."""
    left, top, across, down = fitted.placed
    for number, one in enumerate(expected, start=1):
        edges = one["box"]
        if min(*(abs(x + 0.5 - edge) for edge in edges[::2]), *(abs(y + 0.5 - edge) for edge in edges[1::2])) < 0.01:
            return False, 0
        if not (edges[0] <= x + 0.5 < edges[2] and edges[1] <= y + 0.5 < edges[3]):
            continue
        rows, columns = one["sums"].shape
        part_x, part_y = columns / fitted.network_width, rows / fitted.network_height
        in_x, in_y = (left + (x + 0.5) * across) * part_x, (top + (y + 0.5) * down) * part_y
        value = plain.bilinear(one["sums"], in_x - 0.5, in_y - 0.5)
        if abs(value) < 1e-3:
            return False, 0
        if value > 0:
            return True, number
    return True, 0


def test_instances_as_large_as_the_model_s_masks() -> None:
    prototypes = np.full((1, 1, 8, 8), 1.0, "f4")
    table = np.array([[[8.0, 8.0, 8.0, 8.0, 0.9, 3.0], [24.0, 24.0, 8.0, 8.0, 0.8, -3.0]]], "f4")
    decode = decoder_named("instances", {"classes": 1, "mask_size": "model"})
    result = decode({"rows": table, "prototypes": prototypes}, View(64, 64, network_height=32, network_width=32))
    assert isinstance(result, Instances)
    expected = np.zeros((8, 8), np.uint8)
    expected[1:3, 1:3] = 1
    np.testing.assert_array_equal(result.ids, expected)


def turned_rows(random: np.random.Generator, count: int) -> np.ndarray:
    """(count, 5): boxes at an angle in a network's input of 160 x 160, some near each other."""
    found = np.concatenate(
        (random.uniform(20, 140, (count, 2)), random.uniform(6, 60, (count, 2)), random.uniform(-3, 3, (count, 1))), 1
    )
    near = count - count // 2
    found[count // 2 :] = found[:near] + random.normal(0, 2, (near, 5)) * (1, 1, 1, 1, 0.05)
    found[:, 2:4] = np.maximum(found[:, 2:4], 2)
    return found


def test_the_overlap_of_turned_boxes_is_that_of_their_polygons() -> None:
    random = np.random.default_rng(11)
    boxes = turned_rows(random, 40)
    boxes[0], boxes[1] = (50, 50, 20, 10, 0.3), (50, 50, 20, 10, 0.3)  # the same
    boxes[2], boxes[3] = (80, 80, 30, 30, 0.0), (80, 80, 10, 10, 0.8)  # one in the other
    boxes[4], boxes[5] = (20, 20, 10, 10, 0.0), (30, 20, 10, 10, 0.0)  # they touch
    one, other = np.triu_indices(40, 1)
    own = rotated_overlaps(boxes, one, other)
    expected = [plain.polygon_overlap(boxes[a], boxes[b]) for a, b in zip(one, other, strict=True)]
    np.testing.assert_allclose(own, expected, atol=1e-5)
    assert max(expected) > 0.99
    assert sum(0.1 < each < 0.9 for each in expected) > 20


def test_pairs_are_compared_in_parts() -> None:
    random = np.random.default_rng(2)
    boxes = turned_rows(random, 230)
    keep = suppress_rotated(boxes, None, 0.3)
    kept: list[int] = []
    for index in range(230):
        if all(plain.polygon_overlap(boxes[index], boxes[rival]) <= 0.3 for rival in kept):
            kept.append(index)
    assert np.flatnonzero(keep).tolist() == kept


@pytest.mark.parametrize("bars", ["centre", "top_left"])
@pytest.mark.parametrize("given", [{}, {"head": "end_to_end"}, {"angle": "after_box", "angle_unit": "deg"}])
def test_boxes_at_an_angle(bars: str, given: dict[str, Any]) -> None:
    fitted, random = Fitted(320, 240, 160, 160, bars), np.random.default_rng(13)
    boxes, shares = turned_rows(random, 30), random.uniform(0.1, 1, (30, CLASSES))
    numbers, best = shares.argmax(axis=1), shares.max(axis=1)
    angle = np.rad2deg(boxes[:, 4:]) if given.get("angle_unit") == "deg" else boxes[:, 4:]
    if given.get("head"):
        parts = [boxes[:, :4], best[:, None], numbers[:, None], angle]
    else:
        parts = [boxes[:, :4], *([angle, shares] if given.get("angle") else [shares, angle])]
    table = np.concatenate(parts, axis=1).astype("f4")[None]
    result = decoder_named("oriented_boxes", {"classes": CLASSES, "iou": 0.3, **given})(table, view_of(fitted))
    assert isinstance(result, OrientedBoxes)
    _, _, across, _ = fitted.placed
    found = [
        {"box": (*fitted.point(x, y), w / across, h / across, turn), "score": score, "class": number}
        for (x, y, w, h, turn), score, number in zip(boxes, best, numbers, strict=True)
        if score >= 0.25
    ]
    kept: list[dict[str, Any]] = []
    for one in sorted(found, key=lambda each: -each["score"]):
        if all(plain.polygon_overlap(one["box"], o["box"]) <= 0.3 for o in kept if o["class"] == one["class"]):
            kept.append(one)
    kept = [one for one in kept if reaches_in(one["box"], fitted)]
    assert len(result.scores) == len(kept) > 5
    for one, own, around in zip(kept, result.rotated, result.corners, strict=True):
        np.testing.assert_allclose(own[:4], one["box"][:4], atol=0.5)
        assert abs(math.sin(own[4] - one["box"][4])) < 1e-3  # a box looks the same from behind
        assert -math.pi / 2 <= own[4] <= math.pi / 2
        ring = np.array(plain.turned(one["box"]))
        left, top = np.maximum(ring.min(axis=0), 0)
        right, bottom = np.minimum(ring.max(axis=0), (320, 240))
        np.testing.assert_allclose(around, (left, top, right - left, bottom - top), atol=0.5)


def reaches_in(box: tuple[float, ...], fitted: Fitted) -> bool:
    ring = np.array(plain.turned(box))
    return bool((ring.max(axis=0) > 0).all() and (ring.min(axis=0) < (fitted.width, fitted.height)).all())


def test_a_stretched_frame_keeps_a_turned_box_s_width_side_and_area() -> None:
    fitted = Fitted(300, 100, 100, 100)  # three times as wide as the network sees it
    table = np.array([[[50.0, 50.0, 20.0, 10.0, 0.9, math.pi / 4]]], "f4")
    result = decoder_named("oriented_boxes", {"classes": 1})(table, view_of(fitted))
    assert isinstance(result, OrientedBoxes)
    x, y, wide, high, angle = result.rotated[0].tolist()
    along = 20 * math.cos(math.pi / 4) * 3, 20 * math.sin(math.pi / 4)
    assert (x, y) == pytest.approx((150, 50))
    assert (wide, angle) == pytest.approx((math.hypot(*along), math.atan2(along[1], along[0])), rel=1e-5)
    assert wide * high == pytest.approx(20 * 10 * 3, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "metres"),
    [
        ({}, lambda v: v),
        ({"scale": 0.001}, lambda v: v * 0.001),
        ({"scale": 2.0, "offset": -1.0, "min": 0.5, "max": 5.0}, lambda v: v * 2 - 1),
        ({"inverse": True, "scale": 0.1, "offset": 0.02}, lambda v: 1 / (v * 0.1 + 0.02) if v * 0.1 + 0.02 > 0 else 0),
    ],
)
@pytest.mark.parametrize("fitted", SHOWN[:3], ids=by_id)
@pytest.mark.parametrize("unit", ["m", "mm"])
def test_depth(options: dict[str, Any], metres: Any, fitted: Fitted, unit: str) -> None:
    values = np.random.default_rng(1).uniform(-0.5, 6, (1, 1, 20, 20)).astype("f4")
    low, high = options.get("min", 0.0), options.get("max", 1000.0)
    result = decoder_named("depth", {"unit": unit, "size": "camera", **options})(values, view_of(fitted))
    assert isinstance(result, Depth)
    assert result.values.shape == (180, 320)
    assert result.values.dtype == (np.float32 if unit == "m" else np.uint16)
    left, top, across, down = (size * 20 / 160 for size in fitted.placed)
    for y in range(0, 180, 7):
        for x in range(0, 320, 11):
            column, row = int(left + (x + 0.5) * across), int(top + (y + 0.5) * down)
            true = metres(float(values[0, 0, row, column]))
            there = true > 0 and low <= true <= high
            own = result.values[y, x]
            if unit == "mm":
                halfway = abs(true * 1000 % 1 - 0.5) < 1e-2
                assert own == (round(true * 1000) if there and true < 65.5355 else 0) or halfway
            else:
                assert own == pytest.approx(true, rel=1e-5) if there else np.isnan(own)


def test_depth_as_the_model_gives_it_by_rep_118() -> None:
    values = np.array([[0.0, 0.5], [2.0, 70.0]], "f4")
    near = decoder_named("depth", {"min": 1.0, "max": 60.0})(values, View(0, 0))
    assert isinstance(near, Depth)
    np.testing.assert_array_equal(near.values, np.array([[np.nan, np.nan], [2.0, np.nan]], "f4"))
    raw = decoder_named("depth", {"unit": "mm"})(values, View(0, 0))
    assert isinstance(raw, Depth)
    np.testing.assert_array_equal(raw.values, np.array([[0, 500], [2000, 0]], np.uint16))  # 70 m has no room in 16 bits


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("boxes", {"head": "end_to_end", "classes": 1, "objectness": True}, "objectness is not of head end_to_end"),
        ("boxes", {"head": "nms_indices", "classes": 1}, "needs layout with head nms_indices"),
        ("boxes", {"head": "detr", "classes": 1, "sigmoid": True, "softmax": True}, "softmax is true, and sigmoid too"),
        ("boxes", {"head": "yolox", "classes": 1, "strides": []}, "strides names none"),
        ("boxes", {"head": "yolox", "classes": 1, "strides": [8.5]}, "give a list of whole numbers from 1 to 1024"),
        ("boxes", {"head": "yolo", "classes": 1}, "head is 'yolo': give rows or end_to_end or yolox"),
        ("boxes", {"head": "nms"}, "needs labels or classes"),
        ("keypoints", {"classes": 1}, "needs keypoints"),
        ("keypoints", {"classes": 1, "keypoints": ["a", "a"]}, "give a list of different names, or how many there are"),
        ("keypoints", {"classes": 1, "keypoints": float("inf")}, "keypoints is inf"),
        ("keypoints", {"classes": 1, "keypoints": 17, "keypoint_values": 4}, "a whole number from 2 to 3"),
        ("keypoints", {"classes": 1, "keypoints": 3, "head": "nms"}, "head is 'nms'"),
        ("instances", {"classes": 1, "max_detections": 300}, "a whole number from 1 to 255"),
        ("oriented_boxes", {"classes": 1, "layout": "xyxy"}, "no option 'layout'"),
        ("depth", {"min": 5.0, "max": 5.0}, "max is 5 m, and min is 5 m"),
        ("depth", {"scale": 0}, "scale is 0"),
    ],
)  # fmt: skip
def test_options_that_do_not_fit_are_refused(name: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(OptionError) as caught:
        decoder_named(name, options)
    assert says in str(caught.value).replace(f"{name}.", "")
