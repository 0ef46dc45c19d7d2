"""Every head against plain arithmetic, with every way that a frame goes into a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from runtime.decoding.decoders import Boxes, View, decoder_named
from tests.unit.decoding import plain_numpy as plain
from tests.unit.decoding.plain_numpy import Fitted

CLASSES = 3
PIXELS, SCORE = 0.5, 0.005
"""How close a decoder must come to plain arithmetic."""
SHOWN = [
    Fitted(320, 180, 160, 160),
    Fitted(320, 180, 160, 160, "centre"),
    Fitted(320, 180, 160, 160, "top_left"),
    Fitted(120, 200, 96, 64, "centre"),
    Fitted(123, 201, 96, 64, "top_left"),
]
Case = tuple[dict[str, Any], Any, list[dict[str, Any]]]
"""Options, what the decoder is called with, and every candidate of plain arithmetic."""


def view_of(fitted: Fitted) -> View:
    bars = fitted.bars != "none"
    sizes = (fitted.network_height, fitted.network_width)
    return View(fitted.height, fitted.width, bars, *sizes, fitted.bars == "top_left")


def places(random: np.random.Generator, fitted: Fitted, count: int) -> np.ndarray:
    """(count, 4): left, top, right, bottom in the network's input; some overlap, some reach out of it."""
    low = random.uniform(-5, (fitted.network_width - 10, fitted.network_height - 10), (count, 2))
    sides = random.uniform(5, 40, (count, 2))
    first = np.concatenate((low, low + sides), axis=1)
    first[count // 2 :] = first[: count - count // 2] + random.uniform(-3, 3, (count - count // 2, 4))
    first[:, 2:] = np.maximum(first[:, 2:], first[:, :2] + 1)
    return first.astype("f4")


def as_layout(boxes: np.ndarray, layout: str, fitted: Fitted, normalized: bool) -> np.ndarray:
    x1, y1, x2, y2 = boxes.astype("f8").T
    if normalized:
        x1, x2 = x1 / fitted.network_width, x2 / fitted.network_width
        y1, y2 = y1 / fitted.network_height, y2 / fitted.network_height
    columns = {
        "xyxy": (x1, y1, x2, y2),
        "yxyx": (y1, x1, y2, x2),
        "xywh": (x1, y1, x2 - x1, y2 - y1),
        "cxcywh": ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1),
    }
    return np.stack(columns[layout], axis=1).astype("f4")


def rows(random: np.random.Generator, fitted: Fitted, **given: Any) -> Case:
    boxes, scores = places(random, fitted, 40), random.uniform(0, 0.9, (40, CLASSES)).astype("f4")
    sure = random.uniform(0.3, 1, 40).astype("f4")
    objectness, layout = given.get("objectness", False), given.get("layout", "cxcywh")
    written = (lambda share: np.log(share / (1 - share))) if given.get("sigmoid") else (lambda share: share)
    parts = [as_layout(boxes, layout, fitted, given.get("normalized", False))]
    parts += [written(sure[:, None] * 0.99)] if objectness else []
    parts += [written(scores + 1e-4)]
    table = np.concatenate(parts, axis=1).astype("f4")
    found = []
    for index in range(40):
        number = int(np.argmax(scores[index]))
        score = (scores[index, number] + 1e-4) * (sure[index] * 0.99 if objectness else 1.0)
        found.append(plain.candidate(fitted, boxes[index], score, number))
    tensor = table.T[None] if given.get("channels_first") else table[None]
    return {"classes": CLASSES, "iou": 0.45, **given}, tensor, found


def end_to_end(random: np.random.Generator, fitted: Fitted, **given: Any) -> Case:
    boxes, scores = places(random, fitted, 30), np.sort(random.uniform(0, 1, 30))[::-1]
    numbers = random.integers(0, CLASSES, 30)
    columns = (as_layout(boxes, given.get("layout", "xyxy"), fitted, given.get("normalized", False)), scores[:, None])
    tensor = np.concatenate((*columns, numbers[:, None] + given.get("first_class", 0)), axis=1).astype("f4")[None]
    tensor = np.concatenate((tensor, np.zeros((1, 5, 6), "f4")), axis=1)  # rows that nothing was found for
    found = [plain.candidate(fitted, *one) for one in zip(boxes, scores, numbers, strict=True)]
    return {"head": "end_to_end", "classes": CLASSES, **given}, tensor, found


def yolox(random: np.random.Generator, fitted: Fitted, **given: Any) -> Case:
    cells = plain.yolox_cells(fitted.network_width, fitted.network_height, (8, 16, 32))
    raw = random.normal(0, 0.5, (len(cells), 4)).astype("f4")
    shares = random.uniform(0.01, 0.99, (len(cells), 1 + CLASSES)).astype("f4")
    shares[random.permutation(len(cells))[30:], 0] *= 0.1
    written = np.log(shares / (1 - shares)) if given.get("sigmoid") else shares
    found = []
    for (column, row, stride), (dx, dy, w, h), share in zip(cells, raw, shares, strict=True):
        box = plain.corners((column + dx) * stride, (row + dy) * stride, np.exp(w) * stride, np.exp(h) * stride)
        number = int(np.argmax(share[1:]))
        found.append(plain.candidate(fitted, box, share[0] * share[1 + number], number))
    options = {"head": "yolox", "classes": CLASSES, "iou": 0.45, **given}
    return options, np.concatenate((raw, written), axis=1).astype("f4")[None], found


def scored(random: np.random.Generator, fitted: Fitted, **given: Any) -> Case:
    boxes = places(random, fitted, 25)
    background = given.get("background", "last" if given.get("softmax") and given["head"] == "detr" else "none")
    logits = random.normal(-1, 2, (25, CLASSES + (background != "none"))).astype("f4")
    found = []
    for box, row in zip(boxes, logits, strict=True):
        shares = plain.softmax(row.tolist()) if given.get("softmax") else [plain.sigmoid(value) for value in row]
        shares = shares[1:] if background == "first" else shares[:CLASSES]
        number = int(np.argmax(shares))
        found.append(plain.candidate(fitted, box, shares[number], number))
    layout = given.get("layout", "cxcywh" if given["head"] == "detr" else "xyxy")
    normalized = given.get("normalized", given["head"] == "detr")
    plain_scores = not (given.get("softmax") or given.get("sigmoid"))
    scores = 1 / (1 + np.exp(-logits)) if plain_scores else logits
    tensors = {"boxes": as_layout(boxes, layout, fitted, normalized)[None], "scores": scores[None].astype("f4")}
    return {"classes": CLASSES, **given}, tensors, found


def nms(random: np.random.Generator, fitted: Fitted, count: int | None, dtype: str, **given: Any) -> Case:
    boxes, scores = places(random, fitted, 20), random.uniform(0, 1, 20).astype("f4")
    numbers = random.integers(0, CLASSES, 20)
    tensors: dict[str, Any] = {
        "boxes": as_layout(boxes, given.get("layout", "xyxy"), fitted, given.get("normalized", False))[None],
        "scores": scores[None],
        "classes": (numbers[None] + given.get("first_class", 0)).astype(dtype),
    }
    if count is not None:
        tensors["count"] = np.array([[count]], dtype)
    found = [plain.candidate(fitted, *one) for one in zip(boxes, scores, numbers, strict=True)][:count]
    return {"head": "nms", "classes": CLASSES, **given}, tensors, found


def fifth_column(random: np.random.Generator, fitted: Fitted) -> Case:
    options, tensors, found = nms(random, fitted, None, "int64")
    joined = np.concatenate((tensors["boxes"], tensors["scores"][..., None]), axis=2)
    return options, {"boxes": joined, "classes": tensors["classes"]}, found


def indices(random: np.random.Generator, fitted: Fitted, **given: Any) -> Case:
    boxes, scores = places(random, fitted, 20), random.uniform(0, 1, (CLASSES, 20)).astype("f4")
    chosen = np.stack((np.zeros(18), random.integers(0, CLASSES, 18), random.permutation(20)[:18]), axis=1).astype("i8")
    tensors = {"boxes": as_layout(boxes, given["layout"], fitted, False)[None], "scores": scores[None]}
    found = [plain.candidate(fitted, boxes[box], scores[number, box], number) for _, number, box in chosen.tolist()]
    return {"head": "nms_indices", "classes": CLASSES, **given}, {**tensors, "indices": chosen}, found


HEADS: dict[str, Callable[[np.random.Generator, Fitted], Case]] = {
    "YOLOv8, v11": lambda r, f: rows(r, f, channels_first=True),
    "YOLOv5, v7": lambda r, f: rows(r, f, objectness=True),
    "rows of logits": lambda r, f: rows(r, f, sigmoid=True, objectness=True),
    "RT-DETR of Ultralytics": lambda r, f: rows(r, f, normalized=True, iou=1.0),
    "rows of corners": lambda r, f: rows(r, f, layout="xyxy"),
    "rows, left top": lambda r, f: rows(r, f, layout="xywh"),
    "YOLO26, v10": end_to_end,
    "end to end, classes from 1": lambda r, f: end_to_end(r, f, first_class=1, normalized=True, layout="yxyx"),
    "YOLOX": yolox,
    "YOLOX of logits": lambda r, f: yolox(r, f, sigmoid=True),
    "DETR": lambda r, f: scored(r, f, head="detr", softmax=True),
    "deformable DETR": lambda r, f: scored(r, f, head="detr", sigmoid=True),
    "DETR after its sigmoid": lambda r, f: scored(r, f, head="detr"),
    "SSD": lambda r, f: scored(r, f, head="ssd", softmax=True, background="first", normalized=True, iou=0.45),
    "EfficientDet": lambda r, f: scored(r, f, head="ssd", sigmoid=True, layout="yxyx", iou=0.45),
    "EfficientNMS": lambda r, f: nms(r, f, 13, "int32"),
    "TF's four": lambda r, f: nms(r, f, 17, "float32", layout="yxyx", normalized=True, first_class=1),
    "torchvision": lambda r, f: nms(r, f, None, "int64", first_class=1),
    "mmdeploy": fifth_column,
    "NonMaxSuppression": lambda r, f: indices(r, f, layout="yxyx"),
    "NonMaxSuppression, centres": lambda r, f: indices(r, f, layout="cxcywh"),
}  # fmt: skip


@pytest.mark.parametrize("fitted", SHOWN, ids=lambda each: f"{each.width}x{each.height} {each.bars}")
@pytest.mark.parametrize("name", HEADS)
def test_as_plain_arithmetic_says(name: str, fitted: Fitted) -> None:
    random = np.random.default_rng([list(HEADS).index(name), SHOWN.index(fitted)])
    options, given, candidates = HEADS[name](random, fitted)
    result = decoder_named("boxes", {"threshold": 0.25, "max_detections": 1000, **options})(given, view_of(fitted))
    assert isinstance(result, Boxes)
    over = [each for each in candidates if each["score"] >= 0.25 and is_in_frame(each["box"])]
    limit = options.get("iou", 0.45 if options.get("head") == "ssd" else 1.0)
    expected = plain.thinned(over, limit) if limit < 1.0 else sorted(over, key=lambda each: -each["score"])
    assert len(expected) > 2, "the case proves nothing"
    same(result, expected)


def test_ones_between_candidates_and_their_numbers_are_nothing() -> None:
    boxes = np.array([[[[0.1, 0.1, 0.5, 0.5]], [[0.2, 0.2, 0.9, 0.9]]]], "f4")  # as YOLOv4's export has them
    given = {"boxes": boxes, "scores": np.array([[[0.1, 0.9], [0.8, 0.1]]], "f4")}
    decode = decoder_named("boxes", {"head": "ssd", "classes": 2, "normalized": True})
    result = decode(given, View(10, 10, network_height=10, network_width=10))
    assert isinstance(result, Boxes)
    np.testing.assert_allclose(result.corners, [[1, 1, 4, 4], [2, 2, 7, 7]], atol=1e-5)
    with pytest.raises(ValueError, match=r"needs shape \(1, candidates, 4\), the output has \[2, 1, 1, 4\]"):
        decode({**given, "boxes": boxes.reshape(2, 1, 1, 4)}, View(10, 10, network_height=10, network_width=10))


def is_in_frame(box: plain.Box) -> bool:
    return box[2] > box[0] and box[3] > box[1]


def same(result: Boxes, expected: list[dict[str, Any]]) -> None:
    """Compare, best first; equal scores may stand in any order."""
    assert result.classes is not None
    assert len(result.scores) == len(expected)
    left, top, wide, high = result.corners.astype("f8").T
    for one, score, number in zip(expected, result.scores, result.classes, strict=True):
        assert abs(one["score"] - score) <= SCORE
        assert one["class"] == number
    own = np.stack((left, top, left + wide, top + high), axis=1)
    np.testing.assert_allclose(own, [each["box"] for each in expected], atol=PIXELS)
