"""A runtime folder with a control model that does what its frames say: drive, say NaN, or hang in native code."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from runtime.contract.codec import canonical_json
from runtime.contract.engine.build import AccuracyGate, DeviceFacts, EngineIdentity, TensorSpec
from runtime.contract.node.runtime_config import InputBinding, ModelRuntime, OutputBinding, RuntimeConfig
from runtime.engines.golden.golden_data import Golden, save_golden
from tests.fakes.nodes.runtime_folder import KEY, TOPIC, write_config

HEIGHT, WIDTH = 4, 4
COMMANDS = "/jetfleet/driver/cmd_vel"
LIMITS = {
    "max_linear": 0.5, "max_angular": 1.0, "max_linear_acceleration": 2.0, "max_angular_acceleration": 4.0,
    "deadline": "400ms",
}  # fmt: skip
DRIVE, NAN, HANG = (255, 0, 0), (0, 255, 0), (0, 0, 255)
"""Colours of frames: red drives at 1 m/s and turns at 0.5 rad/s, which is over the limit; green is NaN; blue hangs."""
HUGE = 1 << 50
"""Turns of a loop: hours."""


def frame(colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), colour, np.uint8)


def write_driver(folder: Path, **options: Any) -> RuntimeConfig:
    """Write ``runtime.json`` and ``engines/driver``."""
    _write_engine(folder / "engines" / "driver")
    model = ModelRuntime(
        name="driver",
        precision="fp32",
        engine_key=KEY,
        inputs=(InputBinding("image", TOPIC, "sensor_msgs/msg/Image", "rgb8", HEIGHT, WIDTH),),
        outputs=(OutputBinding("command", "~/driver/cmd_vel", "velocity", {**LIMITS, **options}),),
    )
    config = RuntimeConfig(models=(model,))
    write_config(folder, config)
    return config


def _write_engine(folder: Path) -> EngineIdentity:
    folder.mkdir(parents=True, exist_ok=True)
    data = _model().SerializeToString()
    (folder / "engine.onnx").write_bytes(data)
    identity = EngineIdentity(
        key=KEY,
        model=folder.name,
        backend="onnxruntime",
        precision="fp32",
        engine_file="engine.onnx",
        engine_sha256=hashlib.sha256(data).hexdigest(),
        engine_bytes=len(data),
        device=DeviceFacts(platform="linux/amd64"),
        inputs=(TensorSpec("image", (1, HEIGHT, WIDTH, 3), "uint8"),),
        outputs=(TensorSpec("command", (2,), "float32"),),
        self_test=AccuracyGate(min_cosine=0.999),
    )
    (folder / "engine.json").write_bytes(canonical_json(identity))
    golden = Golden({"image": frame(DRIVE)[None]}, {"command": np.array([[1.0, 0.5]], np.float32)})
    save_golden(folder / "golden.npz", golden)
    return replace(identity)


def _model() -> onnx.ModelProto:
    """command = (red, red / 2) + green's 0 / 0, after a loop of ``blue * HUGE`` turns."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["goes"]),
            helper.make_node("Sin", ["value"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("goes", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [1]),
        ],
    )
    nodes = [
        helper.make_node("Cast", ["image"], ["whole"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["whole"], ["mean"], axes=[0, 1, 2], keepdims=0),  # (3,)
        helper.make_node("Div", ["mean", "white"], ["colour"]),
        helper.make_node("Split", ["colour"], ["red", "green", "blue"], axis=0),
        helper.make_node("Sub", ["one", "green"], ["rest"]),
        helper.make_node("Div", ["rest", "rest"], ["sound"]),  # 1, or NaN where green is 1
        helper.make_node("Mul", ["red", "sound"], ["speed"]),
        helper.make_node("Cast", ["blue"], ["whether"], to=TensorProto.INT64),
        helper.make_node("Mul", ["whether", "huge"], ["turns_1d"]),
        helper.make_node("Squeeze", ["turns_1d"], ["turns"]),
        helper.make_node("Loop", ["turns", "yes", "blue"], ["spun"], body=body),
        helper.make_node("Mul", ["spun", "zero"], ["nothing"]),
        helper.make_node("Add", ["speed", "nothing"], ["linear"]),
        helper.make_node("Mul", ["linear", "half"], ["angular"]),
        helper.make_node("Concat", ["linear", "angular"], ["command"], axis=0),
    ]
    constants = [
        helper.make_tensor("white", TensorProto.FLOAT, [], [255.0]),
        helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0]),
        helper.make_tensor("half", TensorProto.FLOAT, [1], [0.5]),
        helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0]),
        helper.make_tensor("huge", TensorProto.INT64, [1], [HUGE]),
        helper.make_tensor("yes", TensorProto.BOOL, [], [True]),
    ]
    graph = helper.make_graph(
        nodes,
        "driver",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, HEIGHT, WIDTH, 3])],
        [helper.make_tensor_value_info("command", TensorProto.FLOAT, [2])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
