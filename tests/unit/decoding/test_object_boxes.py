"""Boxes of an object detector, against suppression written the slow way, one box at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.decoding.decoders import Boxes, View, decoder_named
from runtime.decoding.nms import overlaps, suppress
from tests.unit.examples import examples

VIEW = View(height=480, width=640, network_height=320, network_width=320)


def decode(rows: Any, view: View = VIEW, **options: Any) -> Boxes:
    tensor = np.asarray(rows, np.float32)
    if not options.keys() & {"labels", "classes"} and tensor.ndim > 1:
        values = tensor.shape[-2 if options.get("channels_first") else -1]
        options["classes"] = max(values - (5 if options.get("objectness") else 4), 1)
    result = decoder_named("boxes", options if "labels" in options else {"classes": 1, **options})(tensor, view)
    assert isinstance(result, Boxes)
    return result


def slow_overlap(a: Any, b: Any) -> float:
    wide = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    high = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - wide * high
    return wide * high / union if union > 0 else 0.0


def slow_suppress(corners: Any, classes: Any, limit: float) -> list[bool]:
    kept: list[int] = []
    for index, box in enumerate(corners):
        rivals = [other for other in kept if classes is None or classes[other] == classes[index]]
        if all(slow_overlap(corners[other], box) <= limit for other in rivals):
            kept.append(index)
    return [index in kept for index in range(len(corners))]


CORNERS = st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(0, 8), st.integers(0, 8)).map(
    lambda box: (box[0], box[1], box[0] + box[2], box[1] + box[3])
)


@examples(100)
@given(
    st.lists(st.tuples(CORNERS, st.integers(0, 2)), max_size=24), st.sampled_from([0.0, 0.2, 0.45, 0.9]), st.booleans()
)
def test_suppression_keeps_what_the_slow_way_keeps(boxes: list[Any], limit: float, by_class: bool) -> None:
    corners = np.array([box for box, _ in boxes], np.float32).reshape(-1, 4)
    classes = np.array([number for _, number in boxes], np.int64) if by_class else None
    assert suppress(corners, classes, limit).tolist() == slow_suppress(corners, classes, limit)


def test_a_long_chain_is_settled_to_its_end() -> None:
    """Every box overlaps the next one only: every second one stays."""
    corners = np.array([[i * 6, 0, i * 6 + 10, 10] for i in range(40)], np.float32)
    assert suppress(corners, None, 0.2).tolist() == [index % 2 == 0 for index in range(40)]


def test_overlaps_of_pairs_and_boxes_without_area_overlap_nothing() -> None:
    corners = np.array([[0, 0, 4, 4], [2, 0, 6, 4], [1, 1, 1, 3]], np.float32)
    found = overlaps(corners, np.array([0, 1, 0, 2]), np.array([1, 0, 2, 2]))
    assert found.tolist() == pytest.approx([1 / 3, 1 / 3, 0.0, 0.0])


@pytest.mark.parametrize("count", [1, 2, 3, 5, 80])
def test_the_best_of_any_number_of_classes_is_found(count: int) -> None:
    for best in range(count):
        row = [160, 160, 80, 80, *(0.1 * (index != best) + 0.9 * (index == best) for index in range(count))]
        found = decode([row])
        assert found.classes is not None
        assert (found.classes.tolist(), found.scores.tolist()) == ([best], pytest.approx([0.9]))


def test_boxes_come_back_in_the_cameras_pixels_best_first() -> None:
    found = decode([[[40, 40, 20, 10, 0.2, 0.6], [160, 160, 40, 40, 0.9, 0.1]]], labels=["car", "person"])
    assert found.corners.tolist() == [[280.0, 210.0, 80.0, 60.0], [60.0, 52.5, 40.0, 15.0]]
    assert found.scores.tolist() == pytest.approx([0.9, 0.6])
    assert found.names() == ["car", "person"]


def test_letterbox_bars_are_taken_off_and_boxes_end_at_the_frames_edge() -> None:
    view = View(480, 640, letterbox=True, network_height=320, network_width=320)  # bars of 40 rows
    found = decode([[100, 60, 150, 80, 0.9], [300, 270, 340, 400, 0.8], [0, 0, 30, 39, 0.7]], view, layout="xyxy")
    assert found.corners.tolist() == [[200.0, 40.0, 100.0, 40.0], [600.0, 460.0, 40.0, 20.0]]  # the bar's is not there


@pytest.mark.parametrize(
    ("rows", "options"),
    [
        ([[0.5, 0.5, 0.25, 0.25, 0.9]], {"normalized": True}),
        ([[160, 160, 80, 80, 0.9]], {}),
        ([[120, 120, 200, 200, 0.9]], {"layout": "xyxy"}),
        ([[160, 160, 80, 80, 0.9, 1.0]], {"objectness": True}),
        (np.array([[160, 160, 80, 80, 0.9]]).T, {"channels_first": True}),
        ([[160, 160, 80, 80, np.log(9.0)]], {"sigmoid": True}),
        ([[160, 160, 80, 80, np.log(9.0), 90.0]], {"sigmoid": True, "objectness": True}),
    ],
)
def test_every_layout_says_the_same(rows: Any, options: dict[str, Any]) -> None:
    found = decode(rows, **options)
    assert found.corners.tolist() == [[240.0, 180.0, 160.0, 120.0]]
    assert found.scores.tolist() == pytest.approx([0.9])


def test_classes_do_not_suppress_each_other_unless_told_to() -> None:
    rows = [[160, 160, 80, 80, 0.9, 0.0], [162, 160, 80, 80, 0.0, 0.8]]
    assert decode(rows).classes.tolist() == [0, 1]  # type: ignore[union-attr]
    assert decode(rows, class_agnostic=True).classes.tolist() == [0]  # type: ignore[union-attr]


def test_nothing_found_is_an_empty_result() -> None:
    found = decode(np.zeros((1, 8, 6)))
    assert (found.corners.shape, found.scores.shape, found.capped) == ((0, 4), (0,), 0)


def test_no_more_than_max_detections_and_the_rest_is_counted() -> None:
    rows = [[10 + 20 * i, 10, 10, 10, 0.3 + 0.01 * i] for i in range(12)]
    found = decode(rows, max_detections=5)
    assert found.scores.tolist() == pytest.approx([0.41, 0.40, 0.39, 0.38, 0.37])
    assert found.capped == 7
    assert decode(rows, max_detections=5, max_candidates=8).capped == 7  # 4 not looked at, 3 over the most


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("column", [0, 2, 5])
def test_an_output_that_is_not_finite_is_an_error(bad: float, column: int) -> None:
    row = [160.0, 160.0, 80.0, 80.0, 0.9, 0.1]
    row[column] = bad
    with pytest.raises(ValueError, match="not finite numbers"):
        decode([row])


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        (
            (1, 84, 8400),
            {"labels": ["a"] * 80},
            r"needs 4 \+ 80 values for each .* has 8400: .*channels_first",
        ),
        ((8, 4), {}, r"needs 4 \+ 1"),
        ((2, 8, 6), {}, "needs shape"),
        ((8,), {}, "needs shape"),
    ],
)
def test_another_shape_is_refused(shape: tuple[int, ...], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode(np.zeros(shape), **options)


def test_a_configuration_without_the_networks_size_is_refused() -> None:
    with pytest.raises(ValueError, match="does not have the size of the network's input"):
        decode([[160, 160, 80, 80, 0.9]], View(480, 640))
