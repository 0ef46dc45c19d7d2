"""From an engine's output tensor to a result, by the decoder's name in the configuration. No ROS in here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runtime.contract.node.decoders import is_plugin, unknown_decoder
from runtime.decoding.boxes.instances import InstanceDecoder
from runtime.decoding.boxes.keypoints import KeypointBoxes
from runtime.decoding.boxes.object_boxes import ObjectBoxes
from runtime.decoding.boxes.oriented_boxes import OrientedBoxDecoder
from runtime.decoding.depth import DepthDecoder
from runtime.decoding.joints import JointsDecoder
from runtime.decoding.options import OptionError, Options
from runtime.decoding.plain import Classification, MaskDecoder, TensorDecoder
from runtime.decoding.plugin_decoder import plugin_decoder, plugin_result
from runtime.decoding.results import (
    Boxes,
    Classes,
    Decoder,
    Depth,
    Instances,
    JointCommand,
    Keypoints,
    Mask,
    OrientedBoxes,
    Result,
    Tensor,
    Velocity,
    View,
)
from runtime.decoding.text_boxes import TextBoxes
from runtime.decoding.velocity import VelocityDecoder

DECODERS: dict[str, type[Any]] = {
    "boxes": ObjectBoxes,
    "classification": Classification,
    "depth": DepthDecoder,
    "instances": InstanceDecoder,
    "keypoints": KeypointBoxes,
    "joints": JointsDecoder,
    "mask": MaskDecoder,
    "oriented_boxes": OrientedBoxDecoder,
    "tensor": TensorDecoder,
    "text_boxes": TextBoxes,
    "velocity": VelocityDecoder,
}
"""Imported by statements, not by name: a builder image holds what import statements reach."""


def decoder_named(name: str, options: Mapping[str, Any]) -> Decoder:
    """Return the decoder called ``name``: a built-in one, or ``package:name`` of an installed package.

    Raises OptionError for an unknown name, a package that cannot be used, or a bad option.
    """
    if is_plugin(name):
        return plugin_decoder(name, options)
    decoder: Decoder = _built_in(name)(options)
    return decoder


def result_of(name: str) -> type[Any]:
    """Return what the decoder called ``name`` returns, which decides its message. Raises OptionError."""
    if is_plugin(name):
        return plugin_result(name)
    result: type[Any] = _built_in(name).result
    return result


def _built_in(name: str) -> type[Any]:
    if name not in DECODERS:
        raise unknown_decoder(name)
    return DECODERS[name]


__all__ = [
    "DECODERS",
    "Boxes",
    "Classes",
    "Decoder",
    "Depth",
    "Instances",
    "JointCommand",
    "Keypoints",
    "Mask",
    "OptionError",
    "Options",
    "OrientedBoxes",
    "Result",
    "Tensor",
    "Velocity",
    "View",
    "decoder_named",
    "result_of",
]
