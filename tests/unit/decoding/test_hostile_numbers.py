"""Whatever numbers and shapes a model gives, a decoder answers within its ranges or refuses in a sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.decoding.decoders import (
    Boxes,
    Depth,
    Instances,
    Keypoints,
    OrientedBoxes,
    View,
    decoder_named,
)
from tests.unit.examples import examples

VIEWS = [
    View(48, 64, network_height=32, network_width=32),
    View(48, 64, letterbox=True, network_height=32, network_width=32),
    View(48, 64, letterbox=True, network_height=32, network_width=32, top_left=True),
    View(0, 0),
]
ODD = [0.0, 1.0, -1.0, 0.5, 1.004, 1.5, 1e-45, 3e38, -3e38, 64.0, 255.0, np.nan, np.inf, -np.inf]
DTYPES = ["f4", "f2", "f8", "i4", "i8", "u1", "?"]
SHAPES: list[tuple[int, ...]] = [
    (),
    (0,),
    (3,),
    (1, 6),
    (1, 0, 6),
    (1, 5, 6),
    (2, 5, 6),
    (1, 1, 5, 4),
    (1, 6, 5),
    (0, 6),
    (7, 1, 6),
]
DECODERS: list[tuple[str, dict[str, Any], dict[str, tuple[int, ...]]]] = [
    ("boxes", {"classes": 2}, {"": (1, 5, 6)}),
    ("boxes", {"classes": 1, "objectness": True, "sigmoid": True, "channels_first": True}, {"": (1, 6, 5)}),
    ("boxes", {"classes": 2, "normalized": True, "layout": "xyxy"}, {"": (1, 5, 6)}),
    ("boxes", {"classes": 3, "head": "end_to_end"}, {"": (1, 5, 6)}),
    ("boxes", {"classes": 2, "head": "yolox"}, {"": (1, 21, 7)}),
    ("boxes", {"classes": 2, "head": "detr", "softmax": True}, {"boxes": (1, 5, 4), "scores": (1, 5, 3)}),
    ("boxes", {"classes": 2, "head": "detr", "sigmoid": True}, {"boxes": (1, 5, 4), "scores": (1, 5, 2)}),
    ("boxes", {"classes": 2, "head": "ssd", "background": "first"}, {"boxes": (1, 5, 4), "scores": (1, 5, 3)}),
    (
        "boxes",
        {"classes": 2, "head": "nms", "first_class": 1},
        {"boxes": (1, 5, 4), "scores": (1, 5), "classes": (1, 5), "count": (1, 1)},
    ),
    ("boxes", {"classes": 2, "head": "nms"}, {"boxes": (1, 5, 5), "classes": (1, 5)}),
    (
        "boxes",
        {"classes": 2, "head": "nms_indices", "layout": "yxyx"},
        {"indices": (4, 3), "boxes": (1, 5, 4), "scores": (1, 2, 5)},
    ),
    ("keypoints", {"classes": 1, "keypoints": 2}, {"": (1, 5, 11)}),
    ("keypoints", {"classes": 1, "keypoints": 2, "keypoint_values": 2, "head": "end_to_end"}, {"": (1, 5, 10)}),
    ("instances", {"classes": 1}, {"rows": (1, 5, 8), "prototypes": (1, 3, 8, 8)}),
    ("instances", {"classes": 1, "mask_size": "model"}, {"rows": (1, 5, 8), "prototypes": (1, 3, 8, 8)}),
    ("oriented_boxes", {"classes": 1}, {"": (1, 5, 6)}),
    ("oriented_boxes", {"classes": 2, "head": "end_to_end", "angle_unit": "deg"}, {"": (1, 5, 7)}),
    ("depth", {"min": 0.1, "max": 10.0}, {"": (1, 1, 4, 6)}),
    ("depth", {"inverse": True, "unit": "mm", "size": "camera"}, {"": (1, 4, 6)}),
]


@st.composite
def tensors(draw: st.DrawFn, shapes: dict[str, tuple[int, ...]]) -> Any:
    """One tensor, or several by role: plausible numbers with odd ones among them, now and then of another shape."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    found = {}
    for role, right in shapes.items():
        shape = draw(st.sampled_from([right, right, right, right, *SHAPES]))
        values = random.uniform(0, draw(st.sampled_from([1.0, 1.0, 2.0, 40.0])), shape)
        if role in ("classes", "count", "indices") and draw(st.booleans()):
            values = np.floor(values * 2)
        flat = np.atleast_1d(values).reshape(-1)
        for _ in range(draw(st.integers(0, 3)) if flat.size else 0):
            flat[draw(st.integers(0, flat.size - 1))] = draw(st.sampled_from(ODD))
        with np.errstate(all="ignore"):
            dtype = draw(st.sampled_from(["i8"] if role == "indices" else ["f4", "f4", "f4", *DTYPES]))
            found[role] = flat.reshape(shape).astype(dtype)
    return found.get("", found)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", DECODERS, ids=lambda case: f"{case[0]} {case[1].get('head', '')}")
@given(data=st.data(), view=st.sampled_from(VIEWS))
@examples(25)
def test_an_answer_in_its_ranges_or_a_sentence(case: Any, data: st.DataObject, view: View) -> None:
    name, options, shapes = case
    values = data.draw(tensors(shapes))
    try:
        result = decoder_named(name, options)(values, view)
    except ValueError as error:
        said = str(error)
    else:
        said = ""
    if said:
        assert said.startswith(name), "it says which decoder, in words of its own"
        assert len(said.split()) > 3, "a sentence"
        return
    if isinstance(result, Boxes):
        in_range(result, options["classes"], view)
    else:
        assert isinstance(result, Depth)
        metres = result.values / (1000.0 if result.values.dtype == np.uint16 else 1.0)
        there = metres[np.isfinite(metres) & (metres > 0)]
        assert ((there >= options.get("min", 0.0)) & (there <= options.get("max", 1000.0))).all()


def in_range(result: Boxes, classes: int, view: View) -> None:
    assert np.isfinite(result.corners).all()
    assert (result.corners >= 0).all()
    assert (result.corners[:, 0] + result.corners[:, 2] <= view.width + 1e-3).all()
    assert (result.corners[:, 1] + result.corners[:, 3] <= view.height + 1e-3).all()
    assert ((result.scores >= 0.25) & (result.scores <= 1.01)).all()
    assert result.classes is not None
    assert ((result.classes >= 0) & (result.classes < classes)).all()
    if isinstance(result, Keypoints):
        assert np.isfinite(result.points).all()
        assert ((result.visible >= -0.01) & (result.visible <= 1.01)).all()
    if isinstance(result, Instances):
        assert result.ids.max(initial=0) <= len(result.scores)
    if isinstance(result, OrientedBoxes):
        assert np.isfinite(result.rotated).all()


@pytest.mark.parametrize(
    ("options", "values", "says"),
    [
        ({"head": "end_to_end"}, [[0, 0, 9, 9, 0.9, 1.5]], "1.5 stands where a class number belongs"),
        ({"head": "end_to_end"}, [[0, 0, 9, 9, 0.9, 2]], "numbers reach from 2 to 2, and the 2 classes are 0 to 1"),
        ({"head": "end_to_end", "first_class": 1}, [[0, 0, 9, 9, 0.9, 0]], "the 2 classes are 1 to 2"),
        ({"head": "end_to_end"}, [[0, 0, 9, 9, 56.0, 0]], "scores reach from 56 to 56"),
        ({"head": "end_to_end"}, [[0, 0, 9, 9, 0.9, 0, 0]], "needs 6 values for each row (box, score, class)"),
        ({"head": "end_to_end"}, [[9, 9, 3, 3, 0.9, 0]], "1 of 1 boxes end before they begin, so they are not xyxy"),
        ({"head": "end_to_end"}, [[0, 0, np.nan, 9, 0.9, 0]], "coordinates that are not finite"),
        ({"head": "yolox"}, [[0] * 7], "needs 21 rows, one a cell of strides [8, 16, 32] in 32x32 pixels"),
        ({}, [[0, 0, 9, 9, 0.1, 0.2, 0.3]], "boxes needs 4 + 2 values for each candidate"),
    ],
)  # fmt: skip
def test_what_is_not_in_the_layout_is_said(options: dict[str, Any], values: Any, says: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        decoder_named("boxes", {"classes": 2, **options})(np.array([values], "f4"), VIEWS[0])
    assert says in str(caught.value)


ONE = {"boxes": [[[0, 0, 9, 9]]], "scores": [[0.9]], "classes": [[1]]}


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"count": [[2]]}, "tensor count is 2, and there are 1 boxes"),
        ({"count": [[-1]]}, "tensor count is -1"),
        ({"count": [[0.5]]}, "tensor count is 0.5"),
        ({"scores": [[0.9, 0.8]]}, "tensor scores needs 1 numbers, one for each box"),
        ({"classes": [[5]]}, "the class numbers reach from 5 to 5"),
        ({"boxes": [[[0, 0, 9, 9, 1]]]}, "tensor boxes needs shape (1, candidates, 4)"),
    ],
)
def test_tensors_that_do_not_belong_together_are_said(changed: dict[str, Any], says: str) -> None:
    given = {role: np.array(values, "f4") for role, values in {**ONE, **changed}.items()}
    with pytest.raises(ValueError, match=r".") as caught:
        decoder_named("boxes", {"classes": 2, "head": "nms"})(given, VIEWS[0])
    assert says in str(caught.value)


def test_rows_behind_the_count_are_not_looked_at() -> None:
    given = {
        "boxes": np.array([[[0, 0, 9, 9], [np.nan] * 4]], "f4"),
        "scores": np.array([[0.9, 77.0]], "f4"),
        "classes": np.array([[1, -1]], "f4"),
        "count": np.array([1], "i4"),
    }
    result = decoder_named("boxes", {"classes": 2, "head": "nms"})(given, VIEWS[0])
    assert isinstance(result, Boxes)
    assert result.corners.tolist() == [[0.0, 0.0, 18.0, 13.5]]


def test_an_index_outside_of_the_tensors_is_said() -> None:
    given = {"boxes": np.zeros((1, 5, 4), "f4"), "scores": np.zeros((1, 2, 5), "f4"), "indices": np.array([[0, 2, 1]])}
    decode = decoder_named("boxes", {"classes": 2, "head": "nms_indices", "layout": "xyxy"})
    with pytest.raises(ValueError, match=r"names batch, class and box \[0, 2, 1\], and there are 1, 2 and 5"):
        decode(given, VIEWS[0])
