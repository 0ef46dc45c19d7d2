"""From a ROS message to a model's input tensor, by message type. No ROS in here: messages come serialized.

Subscriptions, serving and adapters of other packages may import it; it imports `frames` and `runtime.decoding`.
"""

from __future__ import annotations

from collections.abc import Callable

from runtime.contract.node.camera_info import CAMERA_INFO
from runtime.contract.node.encodings import ENCODINGS
from runtime.contract.node.inputs import (
    ARRAYS,
    COMPRESSED_IMAGE,
    IMAGE,
    IMAGE_TYPES,
    IMU,
    JOINT_STATE,
    LASER_SCAN,
    ODOMETRY,
    POINT_CLOUD,
    POSE_STAMPED,
    SINGLES,
    TWIST,
    TWIST_STAMPED,
    read_input_options,
)
from runtime.contract.node.runtime_config import InputBinding
from runtime.executor.inputs.adapters.base import InputAdapter, Taken
from runtime.executor.inputs.adapters.camera_info import CameraInfoAdapter
from runtime.executor.inputs.adapters.cloud import PointCloudAdapter
from runtime.executor.inputs.adapters.compressed import CompressedImageAdapter
from runtime.executor.inputs.adapters.images import ImageAdapter
from runtime.executor.inputs.adapters.joints import JointStateAdapter
from runtime.executor.inputs.adapters.numbers import ArrayAdapter, SingleAdapter
from runtime.executor.inputs.adapters.plugin_adapter import INPUTS_GROUP, PluginAdapter
from runtime.executor.inputs.adapters.scan import LaserScanAdapter
from runtime.executor.inputs.adapters.vectors import VectorAdapter

ADAPTERS: dict[str, Callable[[InputBinding], InputAdapter]] = {
    IMAGE: ImageAdapter,
    COMPRESSED_IMAGE: CompressedImageAdapter,
    CAMERA_INFO: CameraInfoAdapter,
    LASER_SCAN: LaserScanAdapter,
    IMU: VectorAdapter,
    TWIST: VectorAdapter,
    TWIST_STAMPED: VectorAdapter,
    POSE_STAMPED: VectorAdapter,
    ODOMETRY: VectorAdapter,
    JOINT_STATE: JointStateAdapter,
    POINT_CLOUD: PointCloudAdapter,
    **dict.fromkeys(ARRAYS, ArrayAdapter),
    **dict.fromkeys(SINGLES, SingleAdapter),
}


def adapter_for(binding: InputBinding) -> InputAdapter:
    """Return a new adapter for what a topic feeds. Raises OptionError when it cannot be made."""
    if binding.adapter:
        return PluginAdapter(binding)
    read_input_options(binding.type, binding.options)
    return ADAPTERS[binding.type](binding)


def tensor_of(binding: InputBinding) -> tuple[str, tuple[int, ...]]:
    """Return dtype and shape that an engine's input must have for what feeds it."""
    if binding.type in IMAGE_TYPES and not binding.adapter and not binding.from_model:
        encoding = ENCODINGS.get(binding.encoding)
        return ("uint8", ()) if encoding is None else (encoding.dtype, encoding.shape(binding.height, binding.width))
    return binding.dtype, binding.shape


__all__ = ["ADAPTERS", "INPUTS_GROUP", "InputAdapter", "Taken", "adapter_for", "tensor_of"]
