"""Decoders, against a flood fill written the slow way, and by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from runtime.decoding.decoders import Boxes, Classes, Mask, OptionError, Tensor, Velocity, View, decoder_named
from runtime.decoding.regions import find_regions
from tests.unit.examples import examples

VIEW = View(height=480, width=640)
SAFE = {"max_linear": 1.0, "max_angular": 1.0, "max_linear_acceleration": 1.0, "max_angular_acceleration": 1.0}


def flood(over: np.ndarray) -> Iterator[list[tuple[int, int]]]:
    """Eight-connected regions, one pixel at a time."""
    left = {(int(row), int(column)) for row, column in zip(*np.nonzero(over), strict=True)}
    while left:
        region, edge = [], [left.pop()]
        while edge:
            row, column = edge.pop()
            region.append((row, column))
            near = {(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= near
            edge.extend(near)
        yield region


@examples(60)
@given(
    arrays(
        np.float32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.sampled_from([0.0, 0.25, 0.5, 0.75])
    )
)
def test_regions_are_those_of_a_flood_fill(values: np.ndarray) -> None:
    found = find_regions(values, 0.3)
    expected = sorted(
        (
            min(c for _, c in r),
            min(i for i, _ in r),
            max(c for _, c in r) + 1,
            max(i for i, _ in r) + 1,
            len(r),
            round(float(sum(values[p] for p in r)), 4),
        )
        for r in flood(values > 0.3)
    )
    measured = zip(found.left, found.top, found.right, found.bottom, found.area, found.total, strict=True)
    assert sorted((*map(int, row[:5]), round(float(row[5]), 4)) for row in measured) == expected


def test_a_spiral_is_one_region() -> None:
    size = 41
    grid = np.zeros((size, size), np.float32)
    row, column, step = 0, 0, (0, 1)
    for _ in range(size * size):
        grid[row, column] = 1.0
        ahead = (row + 2 * step[0], column + 2 * step[1])
        blocked = not (0 <= row + step[0] < size and 0 <= column + step[1] < size)
        if blocked or (0 <= ahead[0] < size and 0 <= ahead[1] < size and grid[ahead]):
            step = (step[1], -step[0])
        if not (0 <= row + step[0] < size and 0 <= column + step[1] < size) or grid[row + step[0], column + step[1]]:
            break
        row, column = row + step[0], column + step[1]
    assert len(list(flood(grid > 0.5))) == 1
    assert find_regions(grid, 0.5).area.tolist() == [int(grid.sum())]


def boxes(tensor: np.ndarray, view: View = VIEW, **options: Any) -> Boxes:
    result = decoder_named("text_boxes", {"unclip": 0.0, **options})(tensor, view)
    assert isinstance(result, Boxes)
    return result


def probability(*rectangles: tuple[int, int, int, int, float], rows: int = 240, columns: int = 320) -> np.ndarray:
    tensor = np.zeros((1, 1, rows, columns), np.float32)
    for left, top, width, height, value in rectangles:
        tensor[0, 0, top : top + height, left : left + width] = value
    return tensor


def test_boxes_are_in_frame_pixels_best_first() -> None:
    found = boxes(probability((10, 20, 30, 8, 0.7), (100, 50, 40, 10, 0.9)))
    assert found.corners.tolist() == [[200.0, 100.0, 80.0, 20.0], [20.0, 40.0, 60.0, 16.0]]
    assert found.scores.tolist() == pytest.approx([0.9, 0.7])


def test_nothing_found_is_an_empty_result() -> None:
    found = boxes(probability())
    assert found.corners.shape == (0, 4)
    assert found.scores.shape == (0,)


def test_weak_and_small_regions_are_noise() -> None:
    tensor = probability((10, 10, 20, 20, 0.5), (50, 50, 2, 30, 0.9), (80, 80, 3, 3, 0.9))
    assert boxes(tensor).corners.tolist() == [[160.0, 160.0, 6.0, 6.0]]


def test_no_more_than_max_boxes_and_those_the_best() -> None:
    tensor = probability(*((4 + 12 * i, 5, 6, 6, 0.7 + 0.02 * i) for i in range(10)))
    assert boxes(tensor, max_boxes=3).scores.tolist() == pytest.approx([0.88, 0.86, 0.84])


def test_unclip_grows_by_area_over_perimeter_and_stays_in_the_frame() -> None:
    tensor = probability((100, 100, 40, 10, 0.9), (0, 0, 20, 20, 0.8))
    grown = boxes(tensor, unclip=1.5).corners
    assert grown[0].tolist() == pytest.approx([188.0, 188.0, 104.0, 44.0])  # 400 x 1.5 / 100 = 6 map pixels a side
    assert grown[1].tolist() == pytest.approx([0.0, 0.0, 55.0, 55.0])


def test_letterbox_bars_are_taken_off() -> None:
    tensor = probability((100, 60, 50, 20, 0.9), rows=320, columns=320)  # 640x480 into 320x320: bars of 40 rows
    assert boxes(tensor, View(480, 640, letterbox=True)).corners.tolist() == [[200.0, 40.0, 100.0, 40.0]]


def test_text_boxes_refuses_more_than_one_map() -> None:
    with pytest.raises(ValueError, match=r"one probability map, the output has shape \[1, 2, 4, 4\]"):
        boxes(np.zeros((1, 2, 4, 4), np.float32))


def test_classification_takes_the_best_and_names_them() -> None:
    decode = decoder_named("classification", {"labels": ["cat", "dog", "2", "3"], "top_k": 3, "softmax": True})
    result = decode(np.array([[1.0, 3.0, 2.0, -1.0]], np.float32), VIEW)
    assert isinstance(result, Classes)
    assert result.ids.tolist() == [1, 2, 0]
    assert result.labels == ("dog", "2", "cat")
    assert result.scores.sum() < 1.0 < result.scores.sum() + 0.02


def test_classification_refuses_a_map() -> None:
    with pytest.raises(ValueError, match="one row of scores"):
        decoder_named("classification", {})(np.zeros((1, 3, 4)), VIEW)


def test_masks_by_argmax_threshold_and_class_number() -> None:
    decode = decoder_named("mask", {})
    channels = np.zeros((1, 3, 2, 2), np.float32)
    channels[0, 2, 0, 1] = channels[0, 1, 1, 0] = 1.0
    for tensor, expected in (
        (channels, [[0, 2], [1, 0]]),
        (np.array([[[[0.2, 0.6]]]], np.float32), [[0, 255]]),
        (np.array([[[3, 7]]], np.int64), [[3, 7]]),
    ):
        result = decode(tensor, VIEW)
        assert isinstance(result, Mask)
        assert result.classes.dtype == np.uint8
        assert result.classes.tolist() == expected


def test_a_mask_in_the_cameras_pixels_has_its_bars_off() -> None:
    decode = decoder_named("mask", {"size": "camera"})
    plane = np.zeros((1, 1, 8, 8), np.int64)
    plane[0, 0, :1], plane[0, 0, 1:4], plane[0, 0, 4:7], plane[0, 0, 7:] = 9, 1, 2, 9
    result = decode(plane, View(480, 640, letterbox=True))  # 640x480 into 8x8: 6 rows of picture, a bar above and below
    assert isinstance(result, Mask)
    assert result.classes.shape == (480, 640)
    assert np.unique(result.classes[:240]).tolist() == [1]
    assert np.unique(result.classes[240:]).tolist() == [2]
    stretched = decode(plane[:, :, 1:7], View(6, 8))
    assert isinstance(stretched, Mask)
    assert stretched.classes.tolist() == plane[0, 0, 1:7].tolist()


@pytest.mark.parametrize("plane", [np.full((1, 2, 2), 256), np.full((1, 2, 2), -1), np.zeros((1, 257, 1, 1))])
def test_a_mask_refuses_class_numbers_that_a_byte_cannot_hold(plane: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"mask (takes class numbers|has room for)"):
        decoder_named("mask", {})(plane, VIEW)


def test_velocity_takes_axes_by_name_and_scales_them() -> None:
    options = {**SAFE, "axes": ["angular.z", "linear.x"], "scale": [2.0, -0.5]}
    result = decoder_named("velocity", options)(np.array([[0.25, 3.0]], np.float32), VIEW)
    assert result == Velocity((-1.5, 0.0, 0.0), (0.0, 0.0, 0.5))


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_a_velocity_that_is_no_number_is_a_failure(number: float) -> None:
    with pytest.raises(ValueError, match=r"the model's output \[.*\] is not finite"):
        decoder_named("velocity", SAFE)(np.array([[0.1, number]], np.float32), VIEW)


def test_velocity_refuses_another_count() -> None:
    with pytest.raises(ValueError, match=r"needs 2 numbers, one for each axis, the output has shape \[1, 3\]"):
        decoder_named("velocity", SAFE)(np.zeros((1, 3)), VIEW)


def test_tensor_is_a_copy_and_bounded() -> None:
    tensor = np.arange(4, dtype=np.float32)
    result = decoder_named("tensor", {"max_elements": 4})(tensor, VIEW)
    assert isinstance(result, Tensor)
    tensor[:] = 0
    assert result.values.tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="5 elements, max_elements is 4"):
        decoder_named("tensor", {"max_elements": 4})(np.zeros(5), VIEW)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "text_box",
            {},
            "no decoder 'text_box': it is one of boxes, classification, depth, instances, joints, keypoints, ",
        ),
        ("text_boxes", {"treshold": 0.3}, "text_boxes has no option 'treshold'"),
        ("text_boxes", {"threshold": 2}, "text_boxes.threshold is 2: give a number from 0 to 1"),
        ("text_boxes", {"threshold": True}, "give a number"),
        ("text_boxes", {"max_boxes": 1.5}, "give a whole number"),
        ("classification", {"labels": "cat"}, "give a list of strings"),
        ("classification", {"softmax": 1}, "give true or false"),
        ("tensor", {"name": 3}, "give a string"),
        ("boxes", {"layout": "xyhw"}, "boxes.layout is 'xyhw': give cxcywh or xyxy or yxyx or xywh"),
        ("boxes", {"max_detections": 0}, "boxes.max_detections is 0: give a whole number from 1 to 1000"),
        ("velocity", {}, "velocity needs max_linear: give a number from 0 to 50 m/s"),
        ("velocity", {**SAFE, "max_linear": float("nan")}, "velocity.max_linear is nan"),
        ("velocity", {**SAFE, "axes": ["x"]}, "velocity.axes is .*: give a list of linear.x, linear.y"),
        ("velocity", {**SAFE, "axes": ["linear.x", "linear.x"]}, "names no axis, or one twice"),
        ("velocity", {**SAFE, "scale": [1.0]}, "velocity.scale has 1 numbers: give 2 numbers, one for each axis"),
        ("velocity", {**SAFE, "deadline": 0.5}, "velocity.deadline is 0.5: give a duration such as 300ms"),
        ("velocity", {**SAFE, "deadline": "10ms"}, "velocity.deadline is 0.01 s, shorter than a period of 20 Hz"),
    ],
)
def test_bad_options_are_named(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        decoder_named(name, options)


@pytest.mark.parametrize("tensor", [np.array([[756]]), np.array([[0.9]], "f4"), np.zeros((1, 5), np.int64)])
def test_a_class_number_is_no_row_of_scores(tensor: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"classification needs a score for every class.*not a score"):
        decoder_named("classification", {"labels": ["a"]})(tensor, View(1, 1))
