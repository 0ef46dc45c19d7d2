"""A legged robot's policy from its YAML to actions: built, run by a node on real messages, with what it did before."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.contract.robot.built_model import built
from tests.contract.robot.robot_process import StartRobot
from tests.contract.robot.test_runtime_inputs import play, send
from tests.fakes.nodes.policy_models import mlp_answer, mlp_policy, mlp_weights
from tests.unit.engines.silero_loop import as_its_authors_run_it
from tests.unit.engines.test_silero import FILE, needs_file

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install jetfleet[ros], or a ROS installation)")

JOINTS = [f"{leg}_{part}" for leg in ("fl", "fr", "rl", "rr") for part in ("hip", "thigh", "calf")]
POSE = {name: 0.1 * index - 0.5 for index, name in enumerate(JOINTS)}
INPUTS: list[dict[str, Any]] = [
    {"tensor": "base", "shape": [3], "topic": "/base", "type": "std_msgs/msg/Float64MultiArray"},
    {"tensor": "imu", "shape": [1, 10], "topic": "/imu", "type": "sensor_msgs/msg/Imu"},
    {"tensor": "command", "shape": [6], "topic": "/cmd", "type": "geometry_msgs/msg/Twist"},
    {
        "tensor": "joints",
        "shape": [24],
        "topic": "/joint_states",
        "type": "sensor_msgs/msg/JointState",
        "options": {"joints": sorted(JOINTS)},
    },
]
PARTS: list[dict[str, Any]] = [
    {"input": "base", "scale": 2.0},
    {"input": "imu", "fields": ["angular_velocity.x", "angular_velocity.y", "angular_velocity.z"], "scale": 0.25},
    {"input": "imu", "projected_gravity": True},
    {"input": "command", "fields": ["linear.x", "linear.y", "angular.z"], "scale": [2.0, 2.0, 0.25]},
    {"input": "joints", "joints": JOINTS, "fields": ["position"], "subtract": POSE},
    {"input": "joints", "joints": list(JOINTS), "fields": ["velocity"], "scale": 0.05},
    {"input": "previous"},
]
MODEL: dict[str, Any] = {
    "inputs": INPUTS,
    "state": [{"input": "previous", "output": "actions", "shape": [1, 12], "gap": "500ms"}],
    "observations": [{"tensor": "obs", "shape": [1, 48], "clip": [-100, 100], "parts": PARTS}],
    "trigger": {"input": "joints"},
    "outputs": [{"tensor": "actions", "topic": "~/walk", "decoder": {"name": "tensor"}}],
    "precisions": None,
    "gates": None,
}


def robot_of(folder: Path, content: bytes, declared: dict[str, Any], golden: dict[str, np.ndarray]) -> Path:
    """Build what the manifest declares, and write what its robot runs."""
    built(folder, content, golden, declared)
    return folder / "rt"


def observed(walk: float, previous: np.ndarray) -> np.ndarray:
    """What `sensor_peer` publishes, as legged_gym would observe it."""
    tilt, position = 0.4, {name: walk * (index + 1) for index, name in enumerate(reversed(JOINTS))}
    terms = [
        np.array([0.1, 0.2, 0.3]) * 2.0,
        np.array([0.4, 0.8, 1.2]) * 0.25,
        np.array([0.0, -math.sin(tilt), -math.cos(tilt)]),
        np.array([0.5 * 2.0, 0.0, 0.0]),
        np.array([position[name] - POSE[name] for name in JOINTS]),
        np.array([-position[name] for name in JOINTS]) * 0.05,
        previous,
    ]
    return np.concatenate(terms)


def test_a_policy_walks_on_what_it_observes_and_did_before(tmp_path: Path, robot: StartRobot) -> None:
    rng = np.random.default_rng(1)
    golden = {each["tensor"]: rng.normal(0, 1, (8, each["shape"][-1])).astype(np.float32) for each in INPUTS}
    one = robot(robot_of(tmp_path, mlp_policy().SerializeToString(), MODEL, golden))
    one.until("readiness", lambda report: report.ready)
    steps = [(0.01, 100.0), (0.02, 100.02), (-0.03, 100.04), (0.02, 103.0), (0.01, 103.02)]
    moves = [
        step
        for count, (walk, stamp) in enumerate(steps, 1)
        for step in (send("/joint_states", "joints", walk, stamp), {"expect": count})
    ]
    results = play(
        one,
        "walk",
        send("/base", "numbers", 0.1),
        send("/imu", "tilted_imu", 0.4, 100.0),
        send("/cmd", "twist", 0.5),
        *moves,
    )
    previous, weights = np.zeros(12), mlp_weights()
    for index, ((walk, _), result) in enumerate(zip(steps, results, strict=True)):
        if index == 3:  # three seconds without a frame
            previous = np.zeros(12)
        right = mlp_answer(observed(walk, previous), weights)[0]
        assert np.abs(np.array(result["data"]) - right).max() < 1e-4, f"frame {index}"
        previous = np.array(result["data"])
    [health] = one.until("the reset", lambda report: report.models[0].state_resets == {"gap": 1}).models
    assert health.last_state_reset == "gap: previous: 2.960 s without a frame"
    assert (health.frames, health.errors) == (5, 0)
    assert one.stop() == 0


SILERO: dict[str, Any] = {
    "inputs": [
        {"tensor": "audio", "shape": [1, 512], "topic": "/audio", "type": "std_msgs/msg/Float32MultiArray"},
        {"tensor": "sr", "constant": 16000},
    ],
    # Samples have no stamps: how fast this machine hands them over decides nothing.
    "state": [
        {"input": "state", "output": "stateN", "shape": [2, 1, 128], "reset": "never"},
        {"input": "context", "tail_of": "input", "shape": [1, 64], "reset": "never"},
    ],
    "observations": [{"tensor": "input", "shape": [1, 576], "parts": [{"input": "context"}, {"input": "audio"}]}],
    "outputs": [{"tensor": "output", "topic": "~/speech", "decoder": {"name": "tensor"}}],
    "precisions": None,
    "gates": None,
}


@needs_file
def test_silero_hears_through_a_node_what_it_hears_in_its_authors_loop(tmp_path: Path, robot: StartRobot) -> None:
    from tests.contract.robot.sensor_peer import samples

    chunks = np.array([samples(number) for number in range(12)], np.float32)
    one = robot(robot_of(tmp_path, FILE.read_bytes(), SILERO, {"audio": chunks[::-1]}))
    one.until("readiness", lambda report: report.ready)
    moves = [step for count in range(12) for step in (send("/audio", "sound", count), {"expect": count + 1})]
    found = [result["data"][0] for result in play(one, "speech", *moves)]
    right = as_its_authors_run_it(chunks, FILE)
    assert np.abs(np.array(found) - right).max() < 1e-4
    assert right.max() > 2 * right.min(), "the sound says something"
    assert one.stop() == 0
