"""A policy of 48 observations and 12 joints, as legged_gym's, that says NaN or hangs when it is told to.

Base velocity (3), angular velocity (3), projected gravity (3), commands (3), positions less the default pose (12),
velocities (12) and the previous action (12) are composed in the engine. The first command leans all joints to one side,
by more than their limits where it is large; the third one is the mode.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.fakes.nodes.velocity_engine import HUGE

JOINTS = tuple(f"{leg}_{joint}" for leg in ("fl", "fr", "rl", "rr") for joint in ("hip", "thigh", "calf"))
OBSERVED, MEASURED, IMU_TOPIC, COMMANDED = "/observed/joint_states", "/joint_states", "/imu", "/cmd_vel"
"""The policy sees the joints on a topic of its own, so that one may be late while the other is not."""
BASE_TOPIC, COMMANDS = "/base_velocity", "/leg_controller/commands"
RATE_HZ = 50.0
DRIVE, NAN, HANG = 0.0, 1.0, 2.0
"""angular.z of the twist."""
LOW, HIGH, MAX_VELOCITY = -0.6, 0.8, 3.0
OPTIONS: dict[str, Any] = {
    "joints": list(JOINTS), "interface": "position", "scale": 0.5, "measured": MEASURED, "max_jump": 0.2,
    "min_position": LOW, "max_position": HIGH, "max_velocity": MAX_VELOCITY, "on_failure": "hold_position",
    "deadline": "400ms", "rate": RATE_HZ,
}  # fmt: skip
SIZES = {"base": 3, "imu": 10, "twist": 6, "joints": 24}
TYPES = {"base": "std_msgs/msg/Float64MultiArray", "imu": "sensor_msgs/msg/Imu", "twist": "geometry_msgs/msg/Twist"}
TOPICS = {"base": BASE_TOPIC, "imu": IMU_TOPIC, "twist": COMMANDED}
INPUTS: list[dict[str, Any]] = [
    *({"tensor": name, "shape": [SIZES[name]], "topic": TOPICS[name], "type": kind} for name, kind in TYPES.items()),
    {
        "tensor": "joints",
        "shape": [24],
        "topic": OBSERVED,
        "type": "sensor_msgs/msg/JointState",
        "options": {"joints": list(JOINTS)},
    },
]
PARTS: list[dict[str, Any]] = [
    {"input": "base", "scale": 2.0},
    {"input": "imu", "fields": ["angular_velocity.x", "angular_velocity.y", "angular_velocity.z"], "scale": 0.25},
    {"input": "imu", "projected_gravity": True},
    {"input": "twist", "fields": ["linear.x", "linear.y", "angular.z"]},
    {"input": "joints", "joints": list(JOINTS), "fields": ["position"], "subtract": 0.1},
    {"input": "joints", "joints": list(JOINTS), "fields": ["velocity"], "scale": 0.05},
    {"input": "previous"},
]


def model_of(options: dict[str, Any]) -> dict[str, Any]:
    """Keys of the model's file; ``options`` are the decoder's."""
    return {
        "inputs": INPUTS,
        "state": [{"input": "previous", "output": "actions", "shape": [1, 12]}],
        "observations": [{"tensor": "obs", "shape": [1, 48], "clip": [-100, 100], "parts": PARTS}],
        "trigger": {"input": "joints"},
        "outputs": [{"tensor": "actions", "topic": COMMANDS, "decoder": {"name": "joints", "options": options}}],
        "precisions": None,
        "gates": None,
    }


def golden() -> dict[str, np.ndarray]:
    """Frames in which the policy drives."""
    return {name: np.full((8, size), 0.1, np.float32) for name, size in SIZES.items()}


def policy() -> onnx.ModelProto:
    """actions = tanh(obs × weights) + obs[9], times (1 - m) / (1 - m), after m / 2 × HUGE turns of a loop, with m =
    obs[11]."""
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
        helper.make_node("MatMul", ["obs", "weights"], ["summed"]),
        helper.make_node("Tanh", ["summed"], ["bounded"]),
        helper.make_node("Split", ["obs", "parts"], ["before", "lean", "side", "mode", "after"], axis=1),
        helper.make_node("Add", ["bounded", "lean"], ["leaning"]),
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
        helper.make_node("Add", ["answer", "nothing"], ["actions"]),
    ]
    constants = [
        constant(np.random.default_rng(7).normal(0.0, 0.02, (48, 12)).astype(np.float32), "weights"),
        constant(np.array([9, 1, 1, 1, 36]), "parts"),
        constant(np.array([1.0], np.float32), "one"),
        constant(np.array([0.5], np.float32), "half"),
        constant(np.array([0.0], np.float32), "zero"),
        constant(np.array([HUGE]), "huge"),
        constant(np.array([1]), "flat"),
        constant(np.array(True), "yes"),
    ]
    graph = helper.make_graph(
        nodes,
        "policy",
        [info("obs", TensorProto.FLOAT, [1, 48])],
        [info("actions", TensorProto.FLOAT, [1, 12])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
