"""Camera frames: as they are, and compressed."""

from __future__ import annotations

import importlib
import io
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.contract.node.runtime_config import InputBinding
from runtime.decoding.decoders import OptionError
from runtime.executor.inputs.adapters.base import Taken
from runtime.executor.inputs.cdr import Fields
from runtime.executor.inputs.frames import CHANNELS, Expected, FrameRefusedError, KnownHeader, parse_image, pixels

_MODES = {"rgb8": "RGB", "bgr8": "RGB", "mono8": "L"}
"""Encoding of the engine's input → what Pillow decodes to."""
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")

_PNG_DEPTH_AT = 24
"""Bits a channel: the ninth byte of IHDR, which every PNG begins with (RFC 2083, 4.1.1)."""


class ImageAdapter:
    """sensor_msgs/msg/Image → uint8 (1, height, width, channels)."""

    def __init__(self, binding: InputBinding) -> None:
        """Raises OptionError for an encoding that is not known."""
        if binding.encoding not in CHANNELS:
            raise OptionError(f"encoding {binding.encoding!r} is not one of {', '.join(sorted(CHANNELS))}")
        self._expected = Expected(binding.encoding, binding.height, binding.width)
        self._known: KnownHeader | None = None

    def take(self, message: bytes) -> Taken:
        """View the pixels inside the message. Raises FrameRefusedError."""
        known = None if self._known is None else self._known.view(message)
        if known is not None:
            return Taken(*known)
        frame = parse_image(message)
        data = pixels(frame, self._expected)
        self._known = KnownHeader(message, frame, data)
        return Taken(frame.stamp, data)

    def fill(self, data: npt.NDArray[np.uint8], tensor: npt.NDArray[Any]) -> None:
        """Copy the pixels."""
        np.copyto(tensor[0], data)


class CompressedImageAdapter:
    """sensor_msgs/msg/CompressedImage (JPEG or PNG) → uint8 (1, height, width, channels), decoded on the worker."""

    def __init__(self, binding: InputBinding) -> None:
        """Raises OptionError where frames cannot be decoded to the encoding, or Pillow is not installed."""
        if binding.encoding not in _MODES:
            raise OptionError(f"compressed images are decoded to {', '.join(_MODES)}, not to {binding.encoding!r}")
        try:
            self._pillow: Any = importlib.import_module("PIL.Image")
        except ImportError as error:
            raise OptionError(
                "compressed images need Pillow, which is not installed here: use the runtime image, or "
                "`pip install pillow`"
            ) from error
        self._mode, self._reverse = _MODES[binding.encoding], binding.encoding == "bgr8"
        self._size = (binding.width, binding.height)

    def take(self, message: bytes) -> Taken:
        """View the compressed bytes. Raises FrameRefusedError."""
        fields = Fields(message)
        stamp, form = fields.header(), fields.text()
        data = fields.sequence("u1")
        start = data[:8].tobytes()
        if not start.startswith(_MAGIC):
            raise FrameRefusedError(
                f"format {form!r} with bytes that begin {start.hex() or 'nowhere'}, expected JPEG or PNG", "encoding"
            )
        if start == _MAGIC[1] and data.size > _PNG_DEPTH_AT and data[_PNG_DEPTH_AT] == 16:
            raise FrameRefusedError(
                f"format {form!r} is a PNG of 16 bits a channel, 8 are expected: publish it as 8 bits (rgb8, bgr8, "
                "mono8), or give your own adapter for depth and thermal images",
                "encoding",
            )
        return Taken(stamp, data)

    def fill(self, data: npt.NDArray[np.uint8], tensor: npt.NDArray[Any]) -> None:
        """Decode. Raises FrameRefusedError."""
        try:
            with self._pillow.open(io.BytesIO(data.data), formats=("JPEG", "PNG")) as picture:
                self._check(picture.size)
                picture.draft(self._mode, self._size)
                decoded = np.asarray(picture.convert(self._mode))
        except FrameRefusedError:
            raise
        except Exception as error:  # Pillow's have no common base: OSError, SyntaxError, ValueError, its own
            raise FrameRefusedError(f"a compressed image cannot be decoded: {error}", "undecodable") from error
        target = tensor[0]
        np.copyto(target, decoded[..., ::-1] if self._reverse else decoded.reshape(target.shape))

    def _check(self, size: tuple[int, int]) -> None:
        """Before anything is decoded: a small file may claim to be a huge picture."""
        if size != self._size:
            raise FrameRefusedError(f"{size[0]}x{size[1]} pixels, expected {self._size[0]}x{self._size[1]}", "size")
