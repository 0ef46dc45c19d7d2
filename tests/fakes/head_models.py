"""Small detectors in the layouts that people export, which really see: coloured squares in a picture of 64 pixels.

Every cell of 8 x 8 pixels proposes one box of 24 pixels around its middle. Its score for class 0, 1, 2 is how red,
green or blue it is. What a right decoder must find is then plain arithmetic on the picture (:func:`expected`), which
shares no code with decoders or graphs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper, shape_inference

SIZE, CELL, SIDE, CLASSES = 64, 8, 24.0, 3
CELLS = (SIZE // CELL) ** 2
GAIN, BIAS = 20.0, -14.0
"""From a cell's mean colour, 0 to 1, to its logit."""
SURE = 0.95
"""Objectness, where a layout has one."""
ANGLE = 0.3
Node = Any


@dataclass(frozen=True)
class Layout:
    """One exporter's model."""

    decoder: str
    options: dict[str, Any]
    outputs: dict[str, str]
    """Role → tensor; under "" where there is one."""
    model: ModelProto
    places: dict[str, float] = field(default_factory=dict)
    """What its boxes have besides: see the makers."""


class _Graph:
    """A graph under construction: ``sums`` (1, 3, 8, 8) are logits, ``score`` (1, 3, 64) and ``rows`` (1, 64, 3)."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.weights: dict[str, np.ndarray] = {}
        mean = np.zeros((CLASSES, 3, CELL, CELL), "f4")
        for channel in range(CLASSES):
            mean[channel, channel] = GAIN / CELL**2
        self.weights["kernel"], self.weights["bias"] = mean, np.full(CLASSES, BIAS, "f4")
        self.add("Conv", ["image", "kernel", "bias"], "sums", strides=[CELL, CELL])
        self.add("Reshape", ["sums", self.const([1, CLASSES, CELLS])], "logits")
        self.add("Sigmoid", ["logits"], "score")
        self.add("Transpose", ["score"], "rows", perm=[0, 2, 1])
        self.add("Transpose", ["logits"], "logit_rows", perm=[0, 2, 1])

    def add(self, kind: str, inputs: list[str], output: str | list[str], **attributes: Any) -> str:
        outputs = [output] if isinstance(output, str) else output
        self.nodes.append(helper.make_node(kind, inputs, outputs, f"n{len(self.nodes)}", **attributes))
        return outputs[0]

    def const(self, values: Any, dtype: str = "i8") -> str:
        name = f"c{len(self.weights)}"
        self.weights[name] = np.asarray(values, dtype)
        return name

    def beside(self, columns: Any, rows: str = "rows") -> str:
        """Put constant columns (64, k) in front of the scores (1, 64, n)."""
        return self.add(
            "Concat", [self.const(np.asarray(columns, "f4")[None], "f4"), rows], f"joined{len(self.nodes)}", axis=2
        )

    def best(self) -> tuple[str, str, str]:
        """The 20 best candidates: scores (1, 20), class numbers (1, 20), cells (1, 20)."""
        self.add("ReduceMax", ["score"], "most", axes=[1], keepdims=0)
        self.add("ArgMax", ["score"], "which", axis=1, keepdims=0)
        self.add("TopK", ["most", self.const([20])], ["top", "cells"], axis=1)
        self.add("GatherElements", ["which", "cells"], "numbers", axis=1)
        return "top", "numbers", "cells"

    def boxes_of(self, cells: str, columns: Any) -> str:
        """Constant columns (64, k) of those cells, (1, 20, k)."""
        self.add("Squeeze", [cells, self.const([0])], "flat_cells")
        return self.add("Gather", [self.const(np.asarray(columns, "f4")[None], "f4"), "flat_cells"], "chosen", axis=1)

    def made(self, *outputs: str) -> ModelProto:
        info = helper.make_tensor_value_info
        kinds = {"numbers": TensorProto.INT64, "indices": TensorProto.INT64, "count": TensorProto.INT32}
        graph = helper.make_graph(
            self.nodes, "squares", [info("image", TensorProto.FLOAT, [1, 3, SIZE, SIZE])],
            [info(name, kinds.get(name, TensorProto.FLOAT), None) for name in outputs],
            [numpy_helper.from_array(array, name) for name, array in self.weights.items()],
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return shape_inference.infer_shapes(model)


def centres() -> np.ndarray:
    """(64, 2): x and y of every cell's middle."""
    down, across = np.mgrid[: SIZE // CELL, : SIZE // CELL]
    return (np.stack((across.ravel(), down.ravel()), axis=1) + 0.5) * CELL


def centred(scale: float = 1.0) -> np.ndarray:
    return np.concatenate((centres(), np.full((CELLS, 2), SIDE)), axis=1) * scale


def corners(scale: float = 1.0, order: tuple[int, ...] = (0, 1, 2, 3)) -> np.ndarray:
    return np.concatenate((centres() - SIDE / 2, centres() + SIDE / 2), axis=1)[:, order] * scale


def yolo_v8() -> Layout:
    graph = _Graph()
    graph.add("Transpose", [graph.beside(centred())], "output0", perm=[0, 2, 1])
    return Layout("boxes", {"channels_first": True}, {"": "output0"}, graph.made("output0"))


def yolo_v5() -> Layout:
    graph = _Graph()
    graph.add("Identity", [graph.beside(np.c_[centred(), np.full(CELLS, SURE)])], "output0")
    return Layout("boxes", {"objectness": True}, {"": "output0"}, graph.made("output0"), {"sure": SURE})


def end_to_end() -> Layout:
    graph = _Graph()
    top, numbers, cells = graph.best()
    boxes = graph.boxes_of(cells, corners())
    graph.add("Unsqueeze", [top, graph.const([2])], "top3")
    graph.add("Cast", [numbers], "named", to=TensorProto.FLOAT)
    graph.add("Unsqueeze", ["named", graph.const([2])], "named3")
    graph.add("Concat", [boxes, "top3", "named3"], "output0", axis=2)
    return Layout("boxes", {"head": "end_to_end", "iou": 0.45}, {"": "output0"}, graph.made("output0"))


def yolox() -> Layout:
    graph = _Graph()
    raw = np.c_[np.full((CELLS, 2), 0.5), np.full((CELLS, 2), np.log(SIDE / CELL)), np.full(CELLS, SURE)]
    graph.add("Identity", [graph.beside(raw)], "output")
    options = {"head": "yolox", "strides": [CELL]}
    return Layout("boxes", options, {"": "output"}, graph.made("output"), {"sure": SURE})


def detr() -> Layout:
    graph = _Graph()
    graph.add("Identity", ["logit_rows"], "pred_logits")
    graph.add("Identity", [graph.const(centred(1 / SIZE)[None], "f4")], "pred_boxes")
    options = {"head": "detr", "sigmoid": True, "iou": 0.45}
    roles = {"scores": "pred_logits", "boxes": "pred_boxes"}
    return Layout("boxes", options, roles, graph.made("pred_logits", "pred_boxes"))


def ssd() -> Layout:
    graph = _Graph()
    graph.add("Concat", [graph.const(np.zeros((1, CELLS, 1)), "f4"), "logit_rows"], "with_background", axis=2)
    graph.add("Softmax", ["with_background"], "scores", axis=2)
    graph.add("Identity", [graph.const(corners(1 / SIZE)[None], "f4")], "boxes")
    options = {"head": "ssd", "background": "first", "normalized": True}
    return Layout(
        "boxes", options, {"scores": "scores", "boxes": "boxes"}, graph.made("scores", "boxes"), {"softmax": 1}
    )


def tensorflow() -> Layout:
    graph = _Graph()
    top, numbers, cells = graph.best()
    graph.add("Identity", [graph.boxes_of(cells, corners(1 / SIZE, (1, 0, 3, 2)))], "detection_boxes")
    graph.add("Identity", [top], "detection_scores")
    graph.add("Cast", [numbers], "from_0", to=TensorProto.FLOAT)
    graph.add("Add", ["from_0", graph.const(1.0, "f4")], "detection_classes")
    graph.add("Identity", [graph.const([20.0], "f4")], "num_detections")
    roles = {name: f"detection_{name}" for name in ("boxes", "scores", "classes")} | {"count": "num_detections"}
    options = {"head": "nms", "layout": "yxyx", "normalized": True, "first_class": 1, "iou": 0.45}
    return Layout("boxes", options, roles, graph.made(*roles.values()))


def suppressed() -> Layout:
    graph = _Graph()
    graph.add("Identity", [graph.const(corners()[None], "f4")], "boxes")
    graph.add("Identity", ["score"], "scores")
    limits = [graph.const([100]), graph.const([0.45], "f4"), graph.const([0.25], "f4")]
    graph.add("NonMaxSuppression", ["boxes", "scores", *limits], "indices")
    roles = {name: name for name in ("boxes", "scores", "indices")}
    return Layout("boxes", {"head": "nms_indices", "layout": "xyxy"}, roles, graph.made(*roles))


def pose() -> Layout:
    graph = _Graph()
    points = np.c_[centres() - np.array([6, 0]), np.full(CELLS, 0.9), centres() + np.array([6, 2]), np.full(CELLS, 0.2)]
    joined = graph.add("Concat", [graph.beside(centred()), graph.const(points[None], "f4")], "all", axis=2)
    graph.add("Transpose", [joined], "output0", perm=[0, 2, 1])
    options = {"channels_first": True, "keypoints": ["left", "right"]}
    return Layout("keypoints", options, {"": "output0"}, graph.made("output0"))


def segmentation() -> Layout:
    graph = _Graph()
    kernel = np.zeros((CLASSES, 3, 4, 4), "f4")
    for channel in range(CLASSES):
        kernel[channel, channel] = GAIN / 16
    weights = [graph.const(kernel, "f4"), graph.const(np.full(CLASSES, BIAS), "f4")]
    graph.add("Conv", ["image", *weights], "output1", strides=[4, 4])
    joined = graph.add("Concat", [graph.beside(centred()), "rows"], "all", axis=2)
    graph.add("Transpose", [joined], "output0", perm=[0, 2, 1])
    roles = {"rows": "output0", "prototypes": "output1"}
    return Layout("instances", {"channels_first": True}, roles, graph.made("output0", "output1"))


def oriented() -> Layout:
    graph = _Graph()
    turned = graph.const(np.full((1, CELLS, 1), ANGLE), "f4")
    joined = graph.add("Concat", [graph.beside(centred()), turned], "all", axis=2)
    graph.add("Transpose", [joined], "output0", perm=[0, 2, 1])
    return Layout("oriented_boxes", {"channels_first": True}, {"": "output0"}, graph.made("output0"))


LAYOUTS: dict[str, Callable[[], Layout]] = {
    "YOLOv8": yolo_v8,
    "YOLOv5": yolo_v5,
    "YOLO26": end_to_end,
    "YOLOX": yolox,
    "DETR": detr,
    "SSD": ssd,
    "TensorFlow": tensorflow,
    "NonMaxSuppression": suppressed,
    "pose": pose,
    "segmentation": segmentation,
    "oriented": oriented,
}


def pictures(count: int, seed: int = 3, rows: int = 48) -> np.ndarray:
    """(count, rows, 64, 3) uint8: dark, with a few squares of whole cells in clear colours of different strength."""
    random = np.random.default_rng(seed)
    frames = random.integers(0, 40, (count, rows, SIZE, 3)).astype(np.uint8)
    for frame in frames:
        for x in random.permutation(SIZE // CELL)[:3]:
            y = int(random.integers(0, rows // CELL))
            colour = random.integers(0, 30, 3)
            colour[random.integers(0, 3)] = random.integers(190, 256)
            frame[y * CELL : (y + 1) * CELL, x * CELL : (x + 1) * CELL] = colour
    return frames


def expected(frame: np.ndarray, places: dict[str, float]) -> list[dict[str, Any]]:
    """Every box of a frame (rows, 64, 3) that lies in the middle of the network's picture, grey bars above and below:
    left, top, right, bottom in the frame, score and class; before suppression."""
    rows = frame.shape[0]
    bar = (SIZE - rows) // 2
    seen = np.full((SIZE, SIZE, 3), 114.0)
    seen[bar : bar + rows] = frame
    found = []
    for index, (x, y) in enumerate(centres()):
        down, across = divmod(index, SIZE // CELL)
        means = seen[down * CELL : (down + 1) * CELL, across * CELL : (across + 1) * CELL].mean(axis=(0, 1)) / 255
        logits = GAIN * means + BIAS
        if places.get("softmax"):
            scores = np.exp(logits) / (1 + np.exp(logits).sum())
        else:
            scores = places.get("sure", 1.0) / (1 + np.exp(-logits))
        number = int(np.argmax(scores))
        edges = x - SIDE / 2, y - SIDE / 2 - bar, x + SIDE / 2, y + SIDE / 2 - bar
        cut = tuple(float(np.clip(edge, 0, limit)) for edge, limit in zip(edges, (SIZE, rows) * 2, strict=True))
        if cut[3] > cut[1] and cut[2] > cut[0]:
            found.append({"box": cut, "score": float(scores[number]), "class": number, "centre": (x, y - bar)})
    return found
