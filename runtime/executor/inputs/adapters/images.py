"""Camera frames as they are. Compressed ones: `compressed.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from runtime.contract.node.encodings import ENCODINGS, Encoding
from runtime.contract.node.inputs import image_problem, read_input_options
from runtime.contract.node.runtime_config import InputBinding
from runtime.decoding.decoders import OptionError
from runtime.executor.inputs.adapters.base import Taken
from runtime.executor.inputs.adapters.depth import DepthValues
from runtime.executor.inputs.frames import Expected, KnownHeader, parse_image, pixels


class _Bytes(NamedTuple):
    """A frame whose values have more than one byte."""

    data: npt.NDArray[np.uint8]
    big_endian: bool


class ImageAdapter:
    """sensor_msgs/msg/Image → the engine's tensor, as its encoding says."""

    def __init__(self, binding: InputBinding) -> None:
        """Raises OptionError for an encoding that is not known, or options that do not fit it."""
        self._encoding, options = checked_image(binding)
        self._expected = Expected(binding.encoding, binding.height, binding.width)
        self._depth = DepthValues(self._encoding, options) if self._encoding.depth else None
        self._wide = self._encoding.kind in ("grey16", "depth16", "depth32")
        self._known: KnownHeader | None = None
        self._big_endian = False

    def take(self, message: bytes) -> Taken:
        """View the pixels inside the message. Raises FrameRefusedError."""
        known = None if self._known is None else self._known.view(message)
        if known is None:
            frame = parse_image(message)
            data = pixels(frame, self._expected)
            self._known, self._big_endian = KnownHeader(message, frame, data), frame.big_endian
            known = (frame.stamp, data)
        if self._wide:
            return Taken(known[0], _Bytes(known[1], self._big_endian))
        return Taken(*known)

    def fill(self, data: Any, tensor: npt.NDArray[Any]) -> None:
        """Copy the pixels. Raises FrameRefusedError for distances that are none, where that is declared."""
        if not self._wide:
            np.copyto(tensor[0], data)
        elif self._depth is None:
            np.copyto(tensor[0], data.data[..., ::-1] if data.big_endian else data.data)
        else:
            order = ">" if data.big_endian else "<"
            kind = "f4" if self._encoding.dtype == "float32" else "u2"
            self._depth(data.data.view(order + kind)[..., 0], tensor)


def checked_image(binding: InputBinding) -> tuple[Encoding, Mapping[str, Any]]:
    """Return encoding and options of an image input. Raises OptionError where they do not fit."""
    encoding = ENCODINGS.get(binding.encoding)
    if encoding is None:
        raise OptionError(f"encoding {binding.encoding!r} is not one of {', '.join(ENCODINGS)}")
    options = read_input_options(binding.type, binding.options)
    for problem in image_problem(binding.encoding, options):
        raise OptionError(f"input {binding.tensor!r}: {problem.message}: {problem.hint}")
    if misfit := encoding.misfit(binding.height, binding.width):
        raise OptionError(f"input {binding.tensor!r}: {misfit}")
    return encoding, options
