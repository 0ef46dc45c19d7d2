"""From an engine's output tensor to a result, by the decoder's name in the configuration. No ROS in here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from runtime.executor.decoders.boxes import TextBoxes
from runtime.executor.decoders.options import OptionError
from runtime.executor.decoders.plain import Classification, MaskDecoder, TensorDecoder
from runtime.executor.decoders.results import Boxes, Classes, Decoder, Mask, Result, Tensor, View

DECODERS: dict[str, Callable[[Mapping[str, Any]], Decoder]] = {
    "text_boxes": TextBoxes,
    "classification": Classification,
    "mask": MaskDecoder,
    "tensor": TensorDecoder,
}


def decoder_named(name: str, options: Mapping[str, Any]) -> Decoder:
    """Return the decoder called ``name``. Raises OptionError for an unknown name or a bad option."""
    if name not in DECODERS:
        raise OptionError(f"there is no decoder {name!r}: it is one of {', '.join(sorted(DECODERS))}")
    return DECODERS[name](options)


__all__ = [
    "DECODERS",
    "Boxes",
    "Classes",
    "Decoder",
    "Mask",
    "OptionError",
    "Result",
    "Tensor",
    "View",
    "decoder_named",
]
