"""Networks of real architecture with random weights, as plain ONNX (opset 13): made in a second, nothing to download.

Weights are He-initialised and batch norms near identity, with small last scales in residual branches, so that
activations keep the sizes they have in a trained network.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


@dataclass
class Graph:
    """Collects nodes. Methods take and return tensor names; every convolution is followed by its batch norm."""

    seed: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    def constant(self, name: str, array: np.ndarray) -> str:
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def add(self, operator: str, inputs: list[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def conv(
        self, x: str, name: str, cin: int, cout: int, k: int = 3, stride: int = 1, groups: int = 1, scale: float = 1.0
    ) -> str:
        fan = cin // groups * k * k
        shape = (cout, cin // groups, k, k)
        weight = self.constant(f"{name}.weight", self.random.normal(0, (2 / fan) ** 0.5, shape).astype(np.float32))
        pads = [k // 2] * 4
        y = self.add(
            "Conv", [x, weight], f"{name}/conv", kernel_shape=[k, k], strides=[stride] * 2, pads=pads, group=groups
        )
        return self.norm(y, name, cout, scale)

    def norm(self, x: str, name: str, channels: int, scale: float) -> str:
        parts = {
            "gamma": scale * self.random.uniform(0.8, 1.2, channels),
            "beta": self.random.normal(0, 0.05, channels),
            "mean": self.random.normal(0, 0.05, channels),
            "var": self.random.uniform(0.8, 1.2, channels),
        }
        names = [self.constant(f"{name}.{key}", value.astype(np.float32)) for key, value in parts.items()]
        return self.add("BatchNormalization", [x, *names], f"{name}/bn")

    def relu(self, x: str) -> str:
        return self.add("Relu", [x], f"{x}/relu")

    def relu6(self, x: str) -> str:
        if not any(w.name == "zero" for w in self.weights):
            self.constant("zero", np.float32(0))
            self.constant("six", np.float32(6))
        return self.add("Clip", [x, "zero", "six"], f"{x}/relu6")

    def linear(self, x: str, name: str, cin: int, cout: int) -> str:
        x = self.add("GlobalAveragePool", [x], f"{name}/pool")
        x = self.add("Flatten", [x], f"{name}/flat")
        weight = self.constant(f"{name}.weight", self.random.normal(0, 0.02, (cout, cin)).astype(np.float32))
        bias = self.constant(f"{name}.bias", np.zeros(cout, np.float32))
        return self.add("Gemm", [x, weight, bias], "logits", transB=1)

    def save(self, path: Path, shape: tuple[int, ...], output: str) -> Path:
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)
        result = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, path.stem, [image], [result], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
        model.ir_version = 8
        model = onnx.shape_inference.infer_shapes(model)
        onnx.checker.check_model(model)
        onnx.save(model, str(path))
        return path


def resnet50(path: Path, size: int = 224) -> Path:
    """He et al. 2015, bottlenecks with the stride in the 3x3 convolution."""
    g = Graph(50)
    x = g.relu(g.conv("image", "stem", 3, 64, 7, 2))
    x = g.add("MaxPool", [x], "stem/pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    cin = 64
    for stage, (width, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for block in range(blocks):
            name, stride = f"layer{stage + 1}.{block}", 2 if stage > 0 and block == 0 else 1
            y = g.relu(g.conv(x, f"{name}.1", cin, width, 1))
            y = g.relu(g.conv(y, f"{name}.2", width, width, 3, stride))
            y = g.conv(y, f"{name}.3", width, 4 * width, 1, scale=0.3)
            skip = g.conv(x, f"{name}.down", cin, 4 * width, 1, stride) if block == 0 else x
            x = g.relu(g.add("Add", [y, skip], f"{name}/add"))
            cin = 4 * width
    g.linear(x, "fc", 2048, 1000)
    return g.save(path, (1, 3, size, size), "logits")


_MOBILE = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def _mobile_body(g: Graph) -> tuple[str, str]:
    """Return MobileNetV2's last feature map (320 channels, 1/32) and the one at 1/8 (32 channels)."""
    x = g.relu6(g.conv("image", "stem", 3, 32, 3, 2))
    cin, middle = 32, ""
    for stage, (expand, cout, blocks, first) in enumerate(_MOBILE):
        for block in range(blocks):
            name, stride = f"block{stage}.{block}", first if block == 0 else 1
            y, wide = x, cin * expand
            if expand != 1:
                y = g.relu6(g.conv(y, f"{name}.expand", cin, wide, 1))
            y = g.relu6(g.conv(y, f"{name}.depth", wide, wide, 3, stride, groups=wide))
            same = stride == 1 and cin == cout
            y = g.conv(y, f"{name}.project", wide, cout, 1, scale=0.5 if same else 1.0)
            x = g.add("Add", [x, y], f"{name}/add") if same else y
            cin = cout
        if cout == 32:
            middle = x
    return x, middle


def mobilenet_v2(path: Path, size: int = 224) -> Path:
    """Sandler et al. 2018, width 1.0."""
    g = Graph(2)
    x, _ = _mobile_body(g)
    x = g.relu6(g.conv(x, "last", 320, 1280, 1))
    g.linear(x, "fc", 1280, 1000)
    return g.save(path, (1, 3, size, size), "logits")


def lraspp(path: Path, size: int = 320, classes: int = 21) -> Path:
    """Segmentation: the Lite R-ASPP head (Howard et al. 2019) on MobileNetV2."""
    g = Graph(3)
    high, low = _mobile_body(g)
    branch = g.relu(g.conv(high, "aspp", 320, 128, 1))
    pooled = g.add("GlobalAveragePool", [high], "scale/pool")
    weight = g.constant("scale.weight", g.random.normal(0, 0.08, (128, 320, 1, 1)).astype(np.float32))
    gate = g.add("Sigmoid", [g.add("Conv", [pooled, weight], "scale/conv", kernel_shape=[1, 1])], "scale/gate")
    x = g.add("Mul", [branch, gate], "scale/mul")
    x = _resize(g, x, 4.0, "up4")
    parts = []
    for name, source, channels in (("high", x, 128), ("low", low, 32)):
        weight = g.constant(f"{name}.weight", g.random.normal(0, 0.1, (classes, channels, 1, 1)).astype(np.float32))
        parts.append(g.add("Conv", [source, weight], f"{name}/classifier", kernel_shape=[1, 1]))
    x = g.add("Add", parts, "merge")
    x = _resize(g, x, 8.0, "classes")
    return g.save(path, (1, 3, size, size), "classes")


def detector(path: Path, size: int = 320, classes: int = 20) -> Path:
    """Boxes without anchors, one a cell (as FCOS, Tian et al. 2019), at 1/8 and 1/32 of MobileNetV2.

    ``boxes`` (1, 4 + classes, cells): centre and size in pixels of the input, then a score a class, 0 to 1.
    """
    g = Graph(5)
    high, low = _mobile_body(g)
    parts = [
        _cells(g, x, f"head{stride}", cin, stride, size, classes) for x, cin, stride in ((low, 32, 8), (high, 320, 32))
    ]
    g.add("Concat", parts, "boxes", axis=2)
    return g.save(path, (1, 3, size, size), "boxes")


def _cells(g: Graph, x: str, name: str, cin: int, stride: int, size: int, classes: int) -> str:
    """Return (1, 4 + classes, cells) of one feature map."""
    x = g.relu(g.conv(x, f"{name}.tower", cin, 64))
    across, values = size // stride, 4 + classes
    weight = g.random.normal(0, 0.12, (values, 64, 1, 1))
    bias = np.concatenate([np.zeros(4), np.full(classes, -7.7)])  # few objects, as a trained network says it
    parameters = [
        g.constant(f"{name}.{key}", value.astype(np.float32)) for key, value in (("weight", weight), ("bias", bias))
    ]
    x = g.add("Conv", [x, *parameters], f"{name}/out", kernel_shape=[1, 1])
    shape = g.constant(f"{name}.shape", np.asarray([1, values, across * across]))
    x = g.add("Sigmoid", [g.add("Reshape", [x, shape], f"{name}/flat")], f"{name}/squashed")
    y, left = np.mgrid[0:across, 0:across].reshape(2, -1)
    scale, offset = np.ones((1, values, 1)), np.zeros((1, values, across * across))
    scale[0, :2], scale[0, 2:4] = stride, 4 * stride
    offset[0, 0], offset[0, 1] = left * stride, y * stride
    x = g.add("Mul", [x, g.constant(f"{name}.scale", scale.astype(np.float32))], f"{name}/scaled")
    return g.add("Add", [x, g.constant(f"{name}.offset", offset.astype(np.float32))], f"{name}/placed")


def _resize(g: Graph, x: str, factor: float, name: str) -> str:
    scales = g.constant(f"{name}.scales", np.asarray([1, 1, factor, factor], np.float32))
    return g.add("Resize", [x, "", scales], name, mode="linear", coordinate_transformation_mode="half_pixel")


def tiny(path: Path, size: int = 32) -> Path:
    """Two convolutions and a classifier: builds in seconds."""
    g = Graph(1)
    x = g.relu(g.conv("image", "a", 3, 32))
    x = g.relu(g.conv(x, "b", 32, 32))
    g.linear(x, "fc", 32, 10)
    return g.save(path, (1, 3, size, size), "logits")


def identity(path: Path, size: int = 224) -> Path:
    """Nothing: what is left is the preprocessing."""
    g = Graph(0)
    g.add("Identity", ["image"], "tensor")
    return g.save(path, (1, 3, size, size), "tensor")


def unsupported(path: Path) -> Path:
    """Valid ONNX with an operator that no TensorRT takes."""
    g = Graph(0)
    g.add("Det", ["image"], "determinant")
    return g.save(path, (1, 3, 8, 8), "determinant")


def dynamic(path: Path) -> Path:
    """One convolution with a free batch."""
    g = Graph(4)
    g.relu(g.conv("image", "a", 3, 16))
    saved = g.save(path, (1, 3, 16, 16), g.nodes[-1].output[0])
    model = onnx.load(str(saved))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del model.graph.value_info[:]
    onnx.save(model, str(saved))
    return saved
