"""From an engine's output tensor to a result, by the decoder's name in the configuration. No ROS in here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runtime.contract.decoders import is_plugin
from runtime.engines.boxes.detections import ObjectBoxes
from runtime.executor.decoders.boxes import TextBoxes
from runtime.executor.decoders.foreign import foreign_decoder, foreign_result
from runtime.executor.decoders.options import OptionError, Options
from runtime.executor.decoders.plain import Classification, MaskDecoder, TensorDecoder
from runtime.executor.decoders.results import Boxes, Classes, Decoder, Mask, Result, Tensor, Velocity, View
from runtime.executor.decoders.velocity import VelocityDecoder

DECODERS: dict[str, type[Any]] = {
    "boxes": ObjectBoxes,
    "classification": Classification,
    "mask": MaskDecoder,
    "tensor": TensorDecoder,
    "text_boxes": TextBoxes,
    "velocity": VelocityDecoder,
}


def decoder_named(name: str, options: Mapping[str, Any]) -> Decoder:
    """Return the decoder called ``name``: a built-in one, or ``package:name`` of an installed package.

    Raises OptionError for an unknown name, a package that cannot be used, or a bad option.
    """
    if name in DECODERS:
        decoder: Decoder = DECODERS[name](options)
        return decoder
    if is_plugin(name):
        return foreign_decoder(name, options)
    raise _unknown(name)


def result_of(name: str) -> type[Any]:
    """Return what the decoder called ``name`` returns, which decides its message. Raises OptionError."""
    if name in DECODERS:
        result: type[Any] = DECODERS[name].result
        return result
    if is_plugin(name):
        return foreign_result(name)
    raise _unknown(name)


def _unknown(name: str) -> OptionError:
    return OptionError(f"there is no decoder {name!r}: it is one of {', '.join(sorted(DECODERS))}, or package:name")


__all__ = [
    "DECODERS",
    "Boxes",
    "Classes",
    "Decoder",
    "Mask",
    "OptionError",
    "Options",
    "Result",
    "Tensor",
    "Velocity",
    "View",
    "decoder_named",
    "result_of",
]
