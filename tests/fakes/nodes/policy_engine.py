"""A runtime folder with a policy of 48 observations and 12 joints, that says NaN or hangs when it is told to.

Joints' positions and velocities (24), an Imu (6), a Twist (6) and a previous action (12, zeros here) are multiplied by
weights; the twist's linear.x leans all joints to one side, by more than their limits where it is large.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from runtime.contract.codec import canonical_json
from runtime.contract.engine.build import AccuracyGate, DeviceFacts, EngineIdentity, TensorSpec
from runtime.contract.node.inputs import IMU, IMU_MOTION, JOINT_STATE, TWIST
from runtime.contract.node.runtime_config import InputBinding, ModelRuntime, OutputBinding, RuntimeConfig, Trigger
from runtime.engines.golden.golden_data import Golden, save_golden
from tests.fakes.nodes.runtime_folder import KEY, write_config
from tests.fakes.nodes.velocity_engine import HUGE

JOINTS = tuple(f"{leg}_{joint}" for leg in ("fl", "fr", "rl", "rr") for joint in ("hip", "thigh", "calf"))
OBSERVED, MEASURED, IMU_TOPIC, COMMANDED = "/observed/joint_states", "/joint_states", "/imu", "/cmd_vel"
"""The policy sees the joints on a topic of its own, so that one may be late while the other is not."""
COMMANDS = "/leg_controller/commands"
RATE_HZ = 50.0
DRIVE, NAN, HANG = 0.0, 1.0, 2.0
"""linear.z of the twist."""
LOW, HIGH, MAX_VELOCITY = -0.6, 0.8, 3.0
OPTIONS: dict[str, Any] = {
    "joints": list(JOINTS), "interface": "position", "scale": 0.5, "measured": MEASURED, "max_jump": 0.2,
    "min_position": LOW, "max_position": HIGH, "max_velocity": MAX_VELOCITY, "on_failure": "hold_position",
    "deadline": "400ms", "rate": RATE_HZ,
}  # fmt: skip
SHAPES = {"joints": (1, 24), "imu": (1, 6), "twist": (1, 6)}


def write_policy(folder: Path, **options: Any) -> RuntimeConfig:
    """Write ``runtime.json`` and ``engines/policy``. Options are the decoder's; one of None is left out."""
    _write_engine(folder / "engines" / "policy")
    given = {key: value for key, value in {**OPTIONS, **options}.items() if value is not None}
    model = ModelRuntime(
        name="policy",
        precision="fp32",
        engine_key=KEY,
        inputs=(
            InputBinding("joints", OBSERVED, JOINT_STATE, shape=SHAPES["joints"], options={"joints": list(JOINTS)}),
            InputBinding("imu", IMU_TOPIC, IMU, shape=SHAPES["imu"], options={"fields": list(IMU_MOTION)}),
            InputBinding("twist", COMMANDED, TWIST, shape=SHAPES["twist"]),
        ),
        outputs=(OutputBinding("action", COMMANDS, "joints", given),),
        trigger=Trigger(input="joints"),
    )
    config = RuntimeConfig(models=(model,))
    write_config(folder, config)
    return config


def weights() -> np.ndarray:
    return np.random.default_rng(7).normal(0.0, 0.02, (48, 12)).astype(np.float32)


def actions(joints: np.ndarray, imu: np.ndarray, twist: np.ndarray) -> np.ndarray:
    """What the policy answers, in numpy."""
    seen = np.concatenate([joints, imu, twist, np.zeros((1, 12), np.float32)], axis=1)
    answer: np.ndarray = np.tanh(seen @ weights()) + twist[:, :1]
    return answer.astype(np.float32)


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
        inputs=tuple(TensorSpec(name, shape, "float32") for name, shape in SHAPES.items()),
        outputs=(TensorSpec("action", (1, 12), "float32"),),
        self_test=AccuracyGate(min_cosine=0.999),
    )
    (folder / "engine.json").write_bytes(canonical_json(identity))
    feed = {name: np.full(shape, 0.1, np.float32) for name, shape in SHAPES.items()}
    feed["twist"][:] = [[0.2, 0.0, DRIVE, 0.0, 0.0, 0.0]]
    save_golden(folder / "golden.npz", Golden(feed, {"action": actions(**feed)}))
    return replace(identity)


def _model() -> onnx.ModelProto:
    """action = tanh(observations × weights) + linear.x, times (1 - m) / (1 - m), after m / 2 × HUGE turns of a loop."""
    info, constant = helper.make_tensor_value_info, numpy_helper.from_array
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["goes"]), helper.make_node("Sin", ["value"], ["next"])],
        "body",
        [
            info("turn", TensorProto.INT64, []),
            info("going", TensorProto.BOOL, []),
            info("value", TensorProto.FLOAT, [1]),
        ],
        [info("goes", TensorProto.BOOL, []), info("next", TensorProto.FLOAT, [1])],
    )
    nodes = [
        helper.make_node("Concat", ["joints", "imu", "twist", "previous"], ["observations"], axis=1),
        helper.make_node("MatMul", ["observations", "weights"], ["summed"]),
        helper.make_node("Tanh", ["summed"], ["bounded"]),
        helper.make_node("Split", ["twist", "parts"], ["x", "y", "mode", "turning"], axis=1),
        helper.make_node("Add", ["bounded", "x"], ["leaning"]),
        helper.make_node("Sub", ["one", "mode"], ["rest"]),
        helper.make_node("Div", ["rest", "rest"], ["sound"]),  # 1, or NaN where the mode is 1
        helper.make_node("Mul", ["leaning", "sound"], ["answer"]),
        helper.make_node("Mul", ["mode", "half"], ["share"]),
        helper.make_node("Cast", ["share"], ["whether"], to=TensorProto.INT64),
        helper.make_node("Mul", ["whether", "huge"], ["turns_2d"]),
        helper.make_node("Squeeze", ["turns_2d"], ["turns"]),
        helper.make_node("Reshape", ["mode", "flat"], ["mode_1d"]),
        helper.make_node("Loop", ["turns", "yes", "mode_1d"], ["spun"], body=body),
        helper.make_node("Mul", ["spun", "zero"], ["nothing"]),
        helper.make_node("Add", ["answer", "nothing"], ["action"]),
    ]
    constants = [
        constant(weights(), "weights"),
        constant(np.zeros((1, 12), np.float32), "previous"),
        constant(np.array([1, 1, 1, 3]), "parts"),
        constant(np.array([1.0], np.float32), "one"),
        constant(np.array([0.5], np.float32), "half"),
        constant(np.array([0.0], np.float32), "zero"),
        constant(np.array([HUGE]), "huge"),
        constant(np.array([1]), "flat"),
        constant(np.array(True), "yes"),
    ]
    inputs = [info(name, TensorProto.FLOAT, shape) for name, shape in SHAPES.items()]
    graph = helper.make_graph(nodes, "policy", inputs, [info("action", TensorProto.FLOAT, [1, 12])], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
