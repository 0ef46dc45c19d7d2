"""How large the messages of a configuration may be, bytes: what the transport is sized from. Pure.

On the safe side, and 0 where nothing is said: adapters and decoders of somebody's own, messages of a few numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runtime.contract.node.decoders import TENSOR_MESSAGES
from runtime.contract.node.encodings import ENCODINGS
from runtime.contract.node.inputs import ARRAYS, IMAGE_TYPES, LASER_SCAN, POINT_CLOUD, size_of
from runtime.contract.node.runtime_config import InputBinding, ModelRuntime, OutputBinding, RuntimeConfig

HEADER_BYTES = 4096
"""On the safe side for a message's header, encoding and padding."""
POINT_BYTES = 48
"""A point as the widest of the usual drivers sends it (x, y, z, intensity, time, reflectivity, ring, ambient and range,
aligned to 16 bytes). A message holds all fields of a point, whichever the model takes."""
FLOAT_BYTES, TEXT_BYTES = 4, 24
"""A float32 value of a message, and one that is written out as JSON."""
_PICTURES = {"mask": ("size", "model"), "instances": ("mask_size", "camera"), "depth": ("size", "model")}
"""Decoders that send a picture: the option that says how large it is, and its default."""
DETECTION_BYTES, MAX_DETECTIONS = 512, 100
"""A detection, with room for a pose with covariance as vision_msgs has it; how many, where the output does not say."""
MAX_ELEMENTS = 4096
"""Of a tensor's message, where the output does not say otherwise (runtime.contract.node.decoders)."""


def largest_message(config: RuntimeConfig) -> int:
    """Return the bytes of the largest message that comes in or goes out; 0 when nothing says how large any is."""
    coming = (message_bytes(binding) for model in config.models for binding in model.inputs)
    going = (result_bytes(model, output) for model in config.models for output in model.outputs)
    return max((*coming, *going), default=0)


def message_bytes(binding: InputBinding) -> int:
    """Bytes of one message of an input, as far as its configuration says; 0 where it does not. A compressed image is
    taken to be no larger than the image."""
    if binding.adapter:
        return 0
    if binding.type in IMAGE_TYPES:
        encoding = ENCODINGS.get(binding.encoding, ENCODINGS["rgb8"])
        pixels = encoding.rows(binding.height) * binding.width
        return pixels * encoding.pixel_bytes + HEADER_BYTES if pixels else 0
    if binding.type == POINT_CLOUD and binding.shape:
        points = max(_points(binding), _whole(binding.options, "max_points", 0))
        return points * POINT_BYTES + HEADER_BYTES
    if binding.type == LASER_SCAN and binding.shape:
        return 2 * size_of(binding.shape) * FLOAT_BYTES + HEADER_BYTES  # ranges, and as many intensities
    if binding.type in ARRAYS and binding.shape and not binding.adapter:
        return size_of(binding.shape) * int(ARRAYS[binding.type][1]) + HEADER_BYTES
    return 0


def result_bytes(model: ModelRuntime, output: OutputBinding) -> int:
    """Bytes of one message of an output; 0 for boxes, classes and velocities, which are small."""
    if output.decoder in _PICTURES:
        option, usual = _PICTURES[output.decoder]
        camera = output.options.get(option, usual) == "camera"
        pixels = (
            (binding.height * binding.width if camera else binding.network_height * binding.network_width)
            for binding in model.inputs
        )
        each = FLOAT_BYTES if output.decoder == "depth" else 1
        return max(pixels, default=0) * each + HEADER_BYTES
    if output.decoder == "keypoints":
        points = output.options.get("keypoints", 0)
        count = len(points) if isinstance(points, (list, tuple)) else _whole(output.options, "keypoints", 0)
        return count * _whole(output.options, "max_detections", MAX_DETECTIONS) * DETECTION_BYTES + HEADER_BYTES
    if output.decoder == "tensor":
        kind = output.options.get("message")
        each = (
            2 * FLOAT_BYTES if kind == "Float64MultiArray" else FLOAT_BYTES if kind in TENSOR_MESSAGES else TEXT_BYTES
        )
        return _whole(output.options, "max_elements", MAX_ELEMENTS) * each + HEADER_BYTES
    return 0


def _points(binding: InputBinding) -> int:
    """The tensor is (1, points, fields), or (1, fields, points)."""
    at = 2 if binding.options.get("layout") == "fields_first" else 1
    return binding.shape[at] if len(binding.shape) > at else 0


def _whole(options: Mapping[str, Any], name: str, default: int) -> int:
    """What is no number here is refused where the option is used: the agent goes on."""
    value = options.get(name, default)
    return value if isinstance(value, int) else default
