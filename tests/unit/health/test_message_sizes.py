"""How large messages may be: what comes in and what goes out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from runtime.contract.node.inputs import COMPRESSED_IMAGE, IMAGE, IMU, LASER_SCAN, POINT_CLOUD
from runtime.contract.node.runtime_config import InputBinding, ModelRuntime, OutputBinding, RuntimeConfig
from runtime.health.process.message_sizes import HEADER_BYTES, largest_message, message_bytes, result_bytes
from runtime.health.process.transport import MIB, sizes

CAMERA = InputBinding("image", "/camera", IMAGE, "rgb8", 480, 640, 240, 320)
CLOUD = InputBinding("points", "/points", POINT_CLOUD, shape=(1, 20_000, 3))


@pytest.mark.parametrize(
    ("binding", "expected"),
    [
        (CAMERA, 640 * 480 * 3),
        (replace(CAMERA, encoding="mono8"), 640 * 480),
        (replace(CAMERA, encoding="bgra8"), 640 * 480 * 4),
        (replace(CAMERA, type=COMPRESSED_IMAGE), 640 * 480 * 3),
        (CLOUD, 20_000 * 48),
        (replace(CLOUD, shape=(1, 3, 20_000), options={"layout": "fields_first"}), 20_000 * 48),
        (replace(CLOUD, options={"max_points": 131_072}), 131_072 * 48),
        (replace(CLOUD, options={"max_points": 100}), 20_000 * 48),
        (replace(CLOUD, options={"max_points": "many"}), 20_000 * 48),  # refused where the cloud is read
        (replace(CLOUD, shape=(1,)), 0),
        (InputBinding("scan", "/scan", LASER_SCAN, shape=(1, 1080)), 1080 * 8),
    ],
)
def test_what_comes_in(binding: InputBinding, expected: int) -> None:
    assert message_bytes(binding) == expected + HEADER_BYTES


@pytest.mark.parametrize(
    "binding",
    [
        InputBinding("imu", "/imu", IMU, shape=(1, 10)),
        InputBinding("features", "", "", shape=(1, 1_000_000), from_model="other", from_tensor="y"),
        replace(CLOUD, adapter="ours:cloud"),
        replace(CAMERA, height=0),
    ],
)
def test_what_nobody_can_say_or_is_small_counts_for_nothing(binding: InputBinding) -> None:
    assert message_bytes(binding) == 0


@pytest.mark.parametrize(
    ("decoder", "options", "expected"),
    [
        ("mask", {}, 320 * 240),
        ("mask", {"size": "camera"}, 640 * 480),
        ("depth", {}, 320 * 240 * 4),
        ("depth", {"size": "camera"}, 640 * 480 * 4),
        ("instances", {}, 640 * 480),
        ("instances", {"mask_size": "model"}, 320 * 240),
        ("keypoints", {"keypoints": 17}, 17 * 100 * 512),
        ("keypoints", {"keypoints": ["nose", "tail"], "max_detections": 5}, 10 * 512),
        ("tensor", {}, 4096 * 24),
        ("tensor", {"max_elements": 65_536, "message": "multiarray"}, 65_536 * 4),
        ("tensor", {"max_elements": 65_536, "message": "Float64MultiArray"}, 65_536 * 8),
    ],
)
def test_what_goes_out(decoder: str, options: dict[str, Any], expected: int) -> None:
    output = OutputBinding("y", "~/out", decoder, options)
    model = ModelRuntime("m", "fp32", "sha256:k", (CAMERA,), (output,))
    assert result_bytes(model, output) == expected + HEADER_BYTES
    assert result_bytes(model, replace(output, decoder="boxes")) == 0


def test_a_cloud_larger_than_any_image_sizes_the_transport() -> None:
    cloud = replace(CLOUD, options={"max_points": 131_072})
    model = ModelRuntime("m", "fp32", "sha256:k", (CAMERA, cloud), ())
    assert largest_message(RuntimeConfig((model,))) == 131_072 * 48 + HEADER_BYTES
    assert sizes(RuntimeConfig((model,))).segment == 25 * MIB


def test_a_mask_at_the_cameras_size_counts_where_frames_come_compressed_by_an_adapter() -> None:
    own = replace(CAMERA, adapter="ours:h264", height=2160, width=3840)
    model = ModelRuntime("m", "fp32", "sha256:k", (own,), (OutputBinding("y", "~/m", "mask", {"size": "camera"}),))
    assert largest_message(RuntimeConfig((model,))) == 2160 * 3840 + HEADER_BYTES
    assert largest_message(RuntimeConfig(())) == 0
