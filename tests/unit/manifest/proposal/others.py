"""Models of other families in the layouts that people export."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import ModelProto

from tests.unit.manifest.proposal.net import FLOAT, INT64, Net

SIDE = 96


def classifier(classes: int = 1000, ending: str = "", output: str = "output", **metadata: str) -> ModelProto:
    """timm, torchvision: logits; ``ending``: an operator behind them."""
    net = Net()
    pooled = net.pooled(net.input("input", [1, 3, SIDE, SIDE]))
    logits = net.numbers(pooled, 1, classes, name="" if ending else output)
    if ending:
        net.add(ending, logits, name=output)
    net.output(output, [1, classes])
    return net.model("pytorch", **metadata)


def keras_classifier(scaled: bool = False) -> ModelProto:
    """Keras by tf2onnx: channels last, a softmax; ``scaled``: a Rescaling layer in the graph."""
    net = Net()
    image = net.input("input_1:0", ["unk__1", SIDE, SIDE, 3])
    turned = net.add("Transpose", image, perm=[0, 3, 1, 2])
    if scaled:
        turned = net.add("Mul", turned, net.const(np.float32(1.0 / 255.0)))
    net.add("Softmax", net.numbers(net.pooled(turned), 1, 8), name="Identity:0", axis=1)
    net.output("Identity:0", ["unk__2", 8])
    return net.model("tf2onnx")


def segformer(classes: int = 7) -> ModelProto:
    """SegFormer: logits at a quarter of the size."""
    net = Net()
    net.conv(net.conv(net.input("pixel_values", [1, 3, SIDE, SIDE]), 3, 8, 2), 8, classes, 2, name="logits")
    net.output("logits", [1, classes, SIDE // 4, SIDE // 4])
    return net.model("pytorch")


def deeplab(classes: int = 21) -> ModelProto:
    """torchvision's DeepLab: full size, and an auxiliary output."""
    net = Net()
    image = net.input("input", [1, 3, SIDE, SIDE])
    net.conv(image, 3, classes, name="out")
    net.conv(image, 3, classes, name="aux")
    net.output("out", [1, classes, SIDE, SIDE])
    net.output("aux", [1, classes, SIDE, SIDE])
    return net.model("pytorch")


def argmax_mask() -> ModelProto:
    """PaddleSeg, mmsegmentation: class numbers."""
    net = Net()
    net.add("ArgMax", net.conv(net.input("x", [1, 3, SIDE, SIDE]), 3, 5), name="classes", axis=1, keepdims=0)
    net.output("classes", [1, SIDE, SIDE], INT64)
    return net.model("PaddlePaddle")


def plane(
    ending: str = "Sigmoid",
    producer: str = "pytorch",
    output: str = "output",
    squeezed: bool = False,
    free: bool = False,
) -> ModelProto:
    """One number a pixel: a text detector, a mask of one class, depth."""
    net = Net()
    image = net.input("x", ["n", 3, "h", "w"] if free else [1, 3, SIDE, SIDE])
    value = net.add(ending, net.conv(image, 3, 1), name="" if squeezed else output)
    if squeezed:
        net.add("Squeeze", value, net.ints(1), name=output)
    shape: list[Any] = [1, 1, SIDE, SIDE] if not free else ["n", 1, "h", "w"]
    net.output(output, [shape[0], *shape[2:]] if squeezed else shape)
    return net.model(producer)


def policy() -> ModelProto:
    """A policy as Isaac Lab exports it: observations in, actions out."""
    net = Net(11)
    value = net.input("obs", [1, 48])
    for into, out, name in ((48, 16, ""), (16, 12, "actions")):
        weights = net.const(net.rng.normal(0, 0.3, (out, into)).astype(np.float32))
        value = net.add("Gemm", value, weights, name=name, transB=1)
        value = value if name else net.add("Elu", value)
    net.output("actions", [1, 12])
    return net.model("pytorch")


def lstm_policy() -> ModelProto:
    """A recurrent policy as Isaac Lab exports it: h_in and c_in, h_out and c_out."""
    net, size = Net(), 8
    obs = net.input("obs", [1, 48])
    net.input("h_in", [1, 1, size])
    net.input("c_in", [1, 1, size])
    gates = [
        net.const(net.rng.normal(0, 0.2, shape).astype(np.float32))
        for shape in ((1, 4 * size, 48), (1, 4 * size, size), (1, 8 * size))
    ]
    from onnx import helper

    steps = net.add("Unsqueeze", obs, net.ints(0))
    node = helper.make_node(
        "LSTM", [steps, *gates, "", "h_in", "c_in"], ["steps", "h_out", "c_out"], "lstm", hidden_size=size
    )
    net.nodes.append(node)
    weights = net.const(net.rng.normal(0, 0.3, (size, 12)).astype(np.float32))
    net.add("MatMul", net.add("Squeeze", "steps", net.ints(0, 1)), weights, name="actions")
    for name, shape in (("actions", [1, 12]), ("h_out", [1, 1, size]), ("c_out", [1, 1, size])):
        net.output(name, shape)
    return net.model("pytorch")


def voice(named: bool = True) -> ModelProto:
    """A voice detector of Silero's form: samples, a state of two layers, a sampling rate that is no tensor of sound."""
    net = Net()
    sound = net.input("input", ["batch", "samples"])
    state = net.input("state", [2, "batch", 4])
    rate = net.input("sr", [], INT64)
    scale = net.add("Cast", rate, to=FLOAT)
    mean = net.add("Div", net.add("ReduceMean", net.add("Abs", sound), axes=[1], keepdims=1), scale)
    after = net.add("Add", net.add("Mul", state, net.const(np.float32(0.5))), mean, name="stateN" if named else "1234")
    last = net.add("Gather", after, net.const(np.array(1, np.int64)), axis=0)
    net.add("Sigmoid", net.add("ReduceMean", last, axes=[1], keepdims=1), name="output")
    net.output("output", ["batch", 1])
    net.output("stateN" if named else "1234", [2, "batch", 4])
    return net.model("spox")
