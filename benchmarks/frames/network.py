"""The network of the frame benchmark: small, real convolutions with seeded weights, 1x3x224x224 to 1x10 scores."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from runtime.contract.codec import canonical_json
from runtime.contract.engine.build import (
    AccuracyGate,
    BuildOptions,
    DeviceFacts,
    EngineIdentity,
    Preprocess,
    TensorSpec,
)
from runtime.contract.node.runtime_config import InputBinding, ModelRuntime, OutputBinding, RuntimeConfig
from runtime.engines.build.fp32_reference import Reference
from runtime.engines.golden.golden_data import Golden, save_golden
from runtime.engines.graph.preprocess import engine_input
from runtime.engines.graph.transform import transform
from runtime.engines.onnxruntime_.layout import resize_before_transpose

TOPIC, RESULT = "/bench/image", "/bench/scores"
SIDE, CLASSES = 224, 10
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
KEY = "sha256:" + "bf" * 32
SEED = 20261124


def write_network(path: Path, *, repeats: int = 0) -> None:
    """Write the network; ``repeats``: so many 16-channel convolutions more, 56x56, for a model slower than
    its camera."""
    random = np.random.default_rng(SEED)
    nodes, weights, last = [], [], "image"
    channels = [(3, 8, 4), (8, 16, 1 if repeats else 2), *[(16, 16, 1)] * repeats, (16, 32, 2)]
    for index, (before, after, stride) in enumerate(channels):
        kernel = random.normal(0.0, (2.0 / (9 * before)) ** 0.5, (after, before, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, f"w{index}"))
        nodes.append(helper.make_node("Conv", [last, f"w{index}"], [f"c{index}"], strides=[stride] * 2, pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"c{index}"], [f"r{index}"]))
        last = f"r{index}"
    nodes.append(helper.make_node("GlobalAveragePool", [last], ["pooled"]))
    weights.append(numpy_helper.from_array(random.normal(0.0, 0.2, (CLASSES, 32, 1, 1)).astype(np.float32), "head"))
    nodes.append(helper.make_node("Conv", ["pooled", "head"], ["map"]))
    nodes.append(helper.make_node("Flatten", ["map"], ["scores"]))
    graph = helper.make_graph(
        nodes,
        "bench",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, CLASSES])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def write_runtime(folder: Path, source: Path, height: int, width: int) -> None:
    """Write what a runtime image holds: the engine that takes the camera's bytes, and ``runtime.json``."""
    spec = TensorSpec(
        "image", (1, 3, SIDE, SIDE), preprocess=Preprocess(height, width, "rgb8", resize="stretch", mean=MEAN, std=STD)
    )
    out = TensorSpec("scores", (1, CLASSES))
    engine = folder / "engines" / "scores"
    engine.mkdir(parents=True)
    # As the backend builds it for a robot.
    model = resize_before_transpose(transform(source, [spec], [out], precision="fp32", options=BuildOptions()))
    data = model.SerializeToString()
    (engine / "engine.onnx").write_bytes(data)
    frame = np.random.default_rng(SEED).integers(0, 255, (1, height, width, 3), np.uint8)
    answer = Reference(source, [spec], [out])({"image": frame})
    save_golden(engine / "golden.npz", Golden({"image": frame}, answer))
    identity = EngineIdentity(
        KEY, "scores", "onnxruntime", "fp32", "engine.onnx", hashlib.sha256(data).hexdigest(), len(data),
        DeviceFacts("linux/amd64"), (engine_input(spec),), (out,), AccuracyGate(0.999),
    )  # fmt: skip
    (engine / "engine.json").write_bytes(canonical_json(identity))
    binding = InputBinding("image", TOPIC, "sensor_msgs/msg/Image", "rgb8", height, width)
    answers = OutputBinding("scores", RESULT, "classification", {"top_k": CLASSES, "softmax": True})
    config = RuntimeConfig(models=(ModelRuntime("scores", "fp32", KEY, (binding,), (answers,)),))
    (folder / "runtime.json").write_bytes(canonical_json(config))
