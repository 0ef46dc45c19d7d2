"""What a legged robot's policy observes, declared as a manifest resolves it, and the same in NumPy."""

from __future__ import annotations

import numpy as np

from runtime.contract.engine.build import TensorSpec
from runtime.contract.engine.model_front import ObservationPart, ObservationSpec, StateSpec
from tests.fakes.nodes.policy_models import ACTIONS

DEFAULT_POSE = tuple(0.1 * index - 0.5 for index in range(ACTIONS))
ORDER = (3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8)
"""The policy's joints among those of the message."""
INPUTS = (
    TensorSpec("odometry", (1, 13)),
    TensorSpec("imu", (1, 10)),
    TensorSpec("command", (1, 6)),
    TensorSpec("joints", (1, 24)),
)
LEGGED = ObservationSpec(
    "obs",
    (1, 48),
    (
        ObservationPart("odometry", (7, 8, 9), scale=(2.0,)),
        ObservationPart("imu", (4, 5, 6), scale=(0.25,)),
        ObservationPart("imu", (0, 1, 2, 3), projected_gravity=True),
        ObservationPart("command", (0, 1, 5), scale=(2.0, 2.0, 0.25)),
        ObservationPart("joints", ORDER, subtract=DEFAULT_POSE),
        ObservationPart("joints", tuple(12 + index for index in ORDER), scale=(0.05,), clip=(-30.0, 30.0)),
        ObservationPart("previous"),
    ),
    clip=(-1.5, 1.5),
)
STATE = (StateSpec("previous", "actions", shape=(1, ACTIONS)),)


def messages(count: int, seed: int = 4) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {spec.name: rng.normal(0, 1, (count, spec.shape[1])).astype(np.float32) for spec in INPUTS}


def rotated_back(quaternion: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """legged_gym's quat_rotate_inverse (x y z w), of a quaternion made to unit length."""
    quaternion = quaternion.astype(np.float64) / np.linalg.norm(quaternion)
    axis, w = quaternion[:3], quaternion[3]
    return vector * (2 * w**2 - 1) - 2 * w * np.cross(axis, vector) + 2 * axis * np.dot(axis, vector)


def observed(frame: dict[str, np.ndarray], previous: np.ndarray) -> np.ndarray:
    """compute_observations of a legged robot, one line a term, in float64."""
    joints = frame["joints"].astype(np.float64)
    terms = [
        frame["odometry"][7:10] * 2.0,
        frame["imu"][4:7] * 0.25,
        rotated_back(frame["imu"][:4], np.array([0.0, 0.0, -1.0])),
        frame["command"][[0, 1, 5]] * np.array([2.0, 2.0, 0.25]),
        joints[list(ORDER)] - np.array(DEFAULT_POSE),
        np.clip(joints[12:][list(ORDER)], -30, 30) * 0.05,
        previous,
    ]
    return np.clip(np.concatenate(terms), -1.5, 1.5)
