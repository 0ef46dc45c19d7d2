"""Tiny models, made here, that behave like real ones: convolutions, dynamic shapes, odd operators."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper, shape_inference

from runtime.contract.codec import canonical_json
from runtime.contract.engine.build import (
    CALIBRATION_DIR,
    GOLDEN_FILE,
    JOB_FILE,
    MODEL_FILE,
    AccuracyGate,
    BuildJob,
    BuildOptions,
    DeviceFacts,
    Preprocess,
    TensorSpec,
)
from runtime.engines.device.preflight import this_platform

FRAME = (24, 32)
"""Rows and columns of the tiny camera."""
TENSOR = (16, 20)
IMAGE = TensorSpec(
    "image",
    (1, 3, *TENSOR),
    preprocess=Preprocess(*FRAME, "rgb8", "bgr", "stretch", 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
)
SCORES = TensorSpec("scores", ())


def initializer(name: str, array: Any) -> TensorProto:
    return numpy_helper.from_array(np.asarray(array), name)


def model_of(
    nodes: list[Any], inputs: dict[str, Any], outputs: list[str], weights: dict[str, Any], *, opset: int = 17
) -> ModelProto:
    """Float tensors in and out; ``inputs`` maps names to shapes, None or a text for a dynamic dimension."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [initializer(name, array) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8 if opset > 12 else 6
    return shape_inference.infer_shapes(model)


def conv_net(*, opset: int = 17, dynamic: bool = True, seed: int = 7, layers: int = 4) -> ModelProto:
    """A few convolutions with ReLU, then one score map: ``image`` → ``scores`` (and ``hidden``, which nobody needs)."""
    rng = np.random.default_rng(seed)
    weights: dict[str, Any] = {}
    nodes = []
    value, channels = "image", 3
    for index in range(layers):
        width = 8 if index < layers - 1 else 2
        weights[f"w{index}"] = (rng.normal(size=(width, channels, 3, 3)) * np.sqrt(2 / (9 * channels))).astype("f4")
        weights[f"b{index}"] = (rng.normal(size=width) * 0.1).astype("f4")
        nodes.append(
            helper.make_node("Conv", [value, f"w{index}", f"b{index}"], [f"c{index}"], f"conv{index}", pads=[1] * 4)
        )
        last = index == layers - 1
        value = "scores" if last else f"r{index}"
        nodes.append(helper.make_node("Sigmoid" if last else "Relu", [f"c{index}"], [value]))
        channels = width
    nodes.append(helper.make_node("GlobalAveragePool", ["r0"], ["hidden"]))
    shape = ["N", 3, "H", "W"] if dynamic else [1, 3, *TENSOR]
    return model_of(nodes, {"image": shape}, ["scores", "hidden"], weights, opset=opset)


def dead_channel(node: int, *, weight: float) -> ModelProto:
    """The network whose convolution ``node`` reads a channel that is always zero, with a huge weight.

    In float nothing comes of it. In int8 that weight takes all the steps of its output channel's scale, and the others
    become zero; in half precision it is only a number.
    """
    model = conv_net(layers=5)
    by_name = {tensor.name: tensor for tensor in model.graph.initializer}
    before, biases = (numpy_helper.to_array(by_name[f"{kind}{node - 1}"]).copy() for kind in "wb")
    before[0], biases[0] = 0.0, -1.0  # ReLU makes it zero
    after = numpy_helper.to_array(by_name[f"w{node}"]).copy()
    after[:, 0] = weight
    for name, array in ((f"w{node - 1}", before), (f"b{node - 1}", biases), (f"w{node}", after)):
        by_name[name].CopyFrom(numpy_helper.from_array(array, name))
    return model


def frames(count: int, seed: int = 1, size: tuple[int, int] = FRAME, channels: int = 3) -> np.ndarray:
    """Smooth random pictures, uint8 (count, rows, columns, channels): noise alone would average away."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, size[0] // 4, size[1] // 4, channels))
    return np.kron(coarse, np.ones((1, 4, 4, 1), int)).astype(np.uint8)


def make_job(folder: Path, *, model: ModelProto | bytes | None = None, golden: Any = None, **changes: Any) -> BuildJob:
    """Write a whole job folder for the tiny convolutional network; ``changes`` are fields of BuildJob."""
    content = model if isinstance(model, bytes) else (model or conv_net()).SerializeToString()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL_FILE).write_bytes(content)
    np.savez(folder / GOLDEN_FILE, **(golden if golden is not None else {"image": frames(3)}))
    (folder / CALIBRATION_DIR).mkdir(exist_ok=True)
    np.savez(folder / CALIBRATION_DIR / "frames.npz", image=frames(16, seed=2))
    values: dict[str, Any] = {
        "key": "sha256:" + "a" * 64,
        "model": "tiny",
        "backend": "onnxruntime",
        "precision": "fp32",
        "onnx_sha256": hashlib.sha256(content).hexdigest(),
        "inputs": (IMAGE,),
        "outputs": (SCORES,),
        "options": BuildOptions(),
        "device": DeviceFacts(this_platform()),
        "accuracy": AccuracyGate(0.97),
        "bench_seconds": 0.05,
    }
    job = BuildJob(**{**values, **changes})
    (folder / JOB_FILE).write_bytes(canonical_json(job))
    return job
