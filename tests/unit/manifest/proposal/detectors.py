"""Detectors in the layouts that people export, small: 96 x 96 pixels, 189 cells of strides 8, 16 and 32."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import ModelProto

from tests.unit.manifest.proposal.net import FLOAT, INT64, UINT8, Net

SIDE, CELLS = 96, 189
STRIDES = (8, 16, 32)


def names_of(count: int) -> str:
    return str({index: f"thing {index}" for index in range(count)})


def ultralytics(task: str, classes: int, **more: str) -> dict[str, str]:
    """Return metadata as Ultralytics writes them."""
    return {
        "author": "Ultralytics", "version": "8.3.0", "stride": "32", "task": task, "batch": "1",
        "imgsz": f"[{SIDE}, {SIDE}]", "names": names_of(classes), **more,
    }  # fmt: skip


def columns(net: Net, image: str, values: int) -> str:
    """Return (1, values, cells), as YOLOv8's heads are joined."""
    maps = [net.add("Reshape", net.conv(each, 8, values), net.ints(1, values, -1)) for each in net.features(image)]
    return net.add("Concat", *maps, axis=2)


def v8(
    classes: int = 3, extra: int = 0, task: str = "detect", free: bool = False, metadata: dict[str, str] | None = None
) -> ModelProto:
    """YOLOv8 and v11: one candidate a column, box and classes, ``extra`` values behind them."""
    net = Net()
    image = net.input("images", ["batch", 3, "height", "width"] if free else [1, 3, SIDE, SIDE])
    _rows(net, image, classes, extra, "output0")
    net.output("output0", [1 if not free else "batch", 4 + classes + extra, CELLS if not free else "anchors"])
    return net.model("pytorch", **(metadata or ultralytics(task, classes)))


def _rows(net: Net, image: str, classes: int, extra: int, name: str) -> str:
    joined = columns(net, image, 4 + classes + extra)
    sizes = net.ints(4, classes, *([extra] if extra else []))
    parts = net.add("Split", joined, sizes, outputs=3 if extra else 2, axis=1)
    boxes = net.add("Mul", net.add("Relu", parts), net.const(np.full((1, 1, CELLS), 8.0, np.float32)))
    rest = [net.add("Sigmoid", f"{parts}_1"), *([f"{parts}_2"] if extra else [])]
    return net.add("Concat", boxes, *rest, name=name, axis=1)


def segmentation(classes: int = 3) -> ModelProto:
    """YOLOv8-seg: 32 coefficients behind the classes, and 32 prototypes at a quarter of the size."""
    net = Net()
    image = net.input("images", [1, 3, SIDE, SIDE])
    _rows(net, image, classes, 32, "output0")
    net.conv(net.conv(image, 3, 8, 2), 8, 32, 2, name="output1")
    net.output("output0", [1, 4 + classes + 32, CELLS])
    net.output("output1", [1, 32, SIDE // 4, SIDE // 4])
    return net.model("pytorch", **ultralytics("segment", classes))


def v5(classes: int = 3, metadata: bool = True) -> ModelProto:
    """YOLOv5, v7: three candidates a cell, an objectness, one candidate a row."""
    net, values = Net(), 5 + classes
    image = net.input("images", [1, 3, SIDE, SIDE])
    maps = []
    for stride, each in zip(STRIDES, net.features(image), strict=True):
        side = SIDE // stride
        raw = net.add("Reshape", net.conv(each, 8, 3 * values), net.ints(1, 3, values, side, side))
        rows = net.add("Sigmoid", net.add("Transpose", raw, perm=[0, 1, 3, 4, 2]))
        parts = net.add("Split", rows, net.ints(2, 2, 1 + classes), outputs=3, axis=4)
        box = net.add("Mul", parts, net.const(np.float32(stride)))
        sized = net.add("Mul", net.add("Pow", f"{parts}_1", net.const(np.float32(2))), net.const(np.float32(stride)))
        maps.append(net.add("Reshape", net.add("Concat", box, sized, f"{parts}_2", axis=4), net.ints(1, -1, values)))
    net.add("Concat", *maps, name="output0", axis=1)
    net.output("output0", [1, 3 * CELLS, values])
    return net.model("pytorch", **({"stride": "32", "names": names_of(classes)} if metadata else {}))


def yolox(classes: int = 3, decoded: bool = False) -> ModelProto:
    """YOLOX: a raw grid as its tools export it, or with ``decode_in_inference``."""
    net, values = Net(11), 5 + classes
    image = net.input("images", [1, 3, SIDE, SIDE])
    maps = []
    for each in net.features(image):
        parts = [net.conv(each, 8, 4), *(net.add("Sigmoid", net.conv(each, 8, size)) for size in (1, classes))]
        maps.append(net.add("Reshape", net.add("Concat", *parts, axis=1), net.ints(1, values, -1)))
    joined = net.add("Concat", *maps, axis=2)
    turned = net.add("Transpose", joined, name="" if decoded else "output", perm=[0, 2, 1])
    if decoded:
        ends = [net.ints(*each) for each in ((0,), (4,), (values,), (2,))]
        sizes = net.add("Mul", net.add("Exp", net.add("Slice", turned, ends[0], ends[1], ends[3])), net.const(
            np.full((1, CELLS, 1), 8.0, np.float32)))  # fmt: skip
        net.add("Concat", sizes, net.add("Slice", turned, ends[1], ends[2], ends[3]), name="output", axis=2)
    net.output("output", [1, CELLS, values])
    return net.model("pytorch")


def end_to_end(
    extra: int = 0, task: str = "detect", prototypes: bool = False, classes: int = 3, kept: int = 20
) -> ModelProto:
    """YOLO26 and v10: selected rows of corners, score, class number and ``extra`` values."""
    net = Net()
    image = net.input("images", [1, 3, SIDE, SIDE])
    rows = net.add("Transpose", columns(net, image, 6 + extra), perm=[0, 2, 1])
    best = net.add("ReduceMax", rows, axes=[2], keepdims=0)
    net.add("TopK", best, net.ints(kept), name="best", outputs=2, axis=1)
    index = net.add("Unsqueeze", net.nodes[-1].output[1], net.ints(2))
    index = net.add("Tile", index, net.ints(1, 1, 6 + extra))
    net.add("Abs", net.add("GatherElements", rows, index, axis=1), name="output0")
    net.output("output0", [1, kept, 6 + extra])
    if prototypes:
        net.conv(net.conv(image, 3, 8, 2), 8, 32, 2, name="output1")
        net.output("output1", [1, 32, SIDE // 4, SIDE // 4])
    more = {"kpt_shape": "[4, 3]"} if task == "pose" else {}
    return net.model("pytorch", **ultralytics(task, classes, end2end="True", **more))


def detr(
    queries: int, values: int, names: tuple[str, str] = ("logits", "pred_boxes"), free: bool = False
) -> ModelProto:
    """DETR, RT-DETR: logits and boxes from 0 to 1 of every query, beside what a decoder does not need."""
    net = Net()
    image = net.input("pixel_values", [1, 3, "h", "w"] if free else [1, 3, SIDE, SIDE])
    pooled = net.pooled(image)
    net.numbers(pooled, 1, queries, values, name=names[0])
    net.add("Sigmoid", net.numbers(pooled, 1, queries, 4), name=names[1])
    net.output(names[0], [1, queries, values])
    net.output(names[1], [1, queries, 4])
    net.numbers(pooled, 1, queries, 16, name="last_hidden_state")
    net.output("last_hidden_state", [1, queries, 16])
    return net.model("pytorch")


def rtdetr_ultralytics(classes: int = 3) -> ModelProto:
    """RT-DETR by Ultralytics: one output of boxes from 0 to 1 and scores."""
    net = Net()
    pooled = net.pooled(net.input("images", [1, 3, SIDE, SIDE]))
    parts = [net.add("Sigmoid", net.numbers(pooled, 1, 50, size)) for size in (4, classes)]
    net.add("Concat", *parts, name="output0", axis=2)
    net.output("output0", [1, 50, 4 + classes])
    return net.model("pytorch", **ultralytics("detect", classes))


def ssd() -> ModelProto:
    """SSD as pytorch-ssd exports it: softmax scores with the background first, corners from 0 to 1."""
    net = Net()
    pooled = net.pooled(net.input("input_0", [1, 3, 300, 300]))
    net.add("Softmax", net.numbers(pooled, 1, 200, 4), name="scores", axis=2)
    net.add("Sigmoid", net.numbers(pooled, 1, 200, 4), name="boxes")
    net.output("scores", [1, 200, 4])
    net.output("boxes", [1, 200, 4])
    return net.model("pytorch")


def tensorflow() -> ModelProto:
    """TensorFlow's object detection by tf2onnx: bytes in, four outputs."""
    net = Net()
    image = net.input("input_tensor", [1, "h", "w", 3], UINT8)
    turned = net.add("Transpose", net.add("Cast", image, to=FLOAT), perm=[0, 3, 1, 2])
    pooled = net.pooled(turned)
    net.add("Sigmoid", net.numbers(pooled, 1, 20, 4), name="detection_boxes")
    net.add("Sigmoid", net.numbers(pooled, 1, 20), name="detection_scores")
    net.add("Floor", net.add("Abs", net.numbers(pooled, 1, 20)), name="detection_classes")
    net.add("Identity", net.const(np.array([20], np.float32)), name="num_detections")
    shapes: tuple[tuple[str, list[Any]], ...] = (
        ("detection_boxes", [1, 20, 4]), ("detection_classes", [1, 20]), ("detection_scores", [1, 20]),
        ("num_detections", [1]),
    )  # fmt: skip
    for name, shape in shapes:
        net.output(name, shape)
    return net.model("tf2onnx")


def efficient_nms() -> ModelProto:
    """EfficientNMS, as YOLOv7's and others' end-to-end exports for TensorRT."""
    net = Net()
    image = net.input("images", [1, 3, SIDE, SIDE])
    pooled = net.pooled(image)
    boxes, scores = net.numbers(pooled, 1, 50, 4), net.add("Sigmoid", net.numbers(pooled, 1, 50, 3))
    outputs = ["num_dets", "det_boxes", "det_scores", "det_classes"]
    from onnx import helper

    net.nodes.append(helper.make_node("EfficientNMS_TRT", [boxes, scores], outputs, "nms", domain="TRT"))
    int32 = 6
    for name, shape, element in (
        ("num_dets", [1, 1], int32), ("det_boxes", [1, 20, 4], FLOAT), ("det_scores", [1, 20], FLOAT),
        ("det_classes", [1, 20], int32),
    ):  # fmt: skip
        net.output(name, shape, element)
    net.domains = ("TRT",)
    return net.model("pytorch")


def torchvision() -> ModelProto:
    """torchvision's Faster R-CNN and SSD: a picture without a batch in, as many boxes as are found."""
    net = Net()
    image = net.input("image", [3, SIDE, SIDE])
    pooled = net.pooled(net.add("Unsqueeze", image, net.ints(0)))
    boxes, scores = net.numbers(pooled, 1, 20, 4), net.add("Sigmoid", net.numbers(pooled, 1, 1, 20))
    limits = (net.ints(10), net.const(np.array([0.5], np.float32)), net.const(np.array([0.1], np.float32)))
    chosen = net.add("NonMaxSuppression", boxes, scores, *limits)
    index = net.add("Squeeze", net.add("Gather", chosen, net.ints(2), axis=1), net.ints(1))
    net.add("Squeeze", net.add("Gather", boxes, index, axis=1), net.ints(0), name="boxes")
    net.add("Add", index, net.ints(1), name="labels")
    net.add("Squeeze", net.add("Gather", scores, index, axis=2), net.ints(0, 1), name="scores")
    net.output("boxes", ["n", 4])
    net.output("labels", ["n"], INT64)
    net.output("scores", ["n"])
    return net.model("pytorch")


def nms_indices() -> ModelProto:
    """A detector with ONNX's NonMaxSuppression at the end, all boxes and scores beside it."""
    net = Net()
    pooled = net.pooled(net.input("images", [1, 3, SIDE, SIDE]))
    boxes, scores = (
        net.numbers(pooled, 1, 20, 4, name="boxes"), net.add("Sigmoid", net.numbers(pooled, 1, 3, 20), name="scores")
    )  # fmt: skip
    limits = (net.ints(10), net.const(np.array([0.5], np.float32)), net.const(np.array([0.1], np.float32)))
    net.add("NonMaxSuppression", boxes, scores, *limits, name="selected_indices")
    net.output("boxes", [1, 20, 4])
    net.output("scores", [1, 3, 20])
    net.output("selected_indices", ["n", 3], INT64)
    return net.model("pytorch")
