"""Compressed camera frames: JPEG and PNG, and depth as image_transport's compressedDepth sends it."""

from __future__ import annotations

import importlib
import io
import struct
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from runtime.contract.node.encodings import COMPRESSED_ENCODINGS
from runtime.contract.node.runtime_config import InputBinding
from runtime.decoding.decoders import OptionError
from runtime.executor.inputs.adapters.base import Taken
from runtime.executor.inputs.adapters.depth import DepthValues
from runtime.executor.inputs.adapters.images import checked_image
from runtime.executor.inputs.cdr import Fields
from runtime.executor.inputs.frames import FrameRefusedError

_MODES = {"rgb8": "RGB", "bgr8": "RGB", "mono8": "L"}
"""Encoding of the engine's input → what Pillow decodes to."""
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
_PNG_DEPTH_AT = 24
"""Bits a channel: the ninth byte of IHDR, which every PNG begins with (RFC 2083, 4.1.1)."""
_DEPTH_HEADER = struct.Struct("<iff")
"""compressedDepth's ConfigHeader: format, and two numbers of the inverse-depth quantization
(compressed_depth_image_transport/compression_common.hpp)."""


class _Packed(NamedTuple):
    data: npt.NDArray[np.uint8]
    quantized: tuple[float, float] | None = None
    """Set where values are inverse distances: a / (value - b) metres, 0 is none."""


class CompressedImageAdapter:
    """sensor_msgs/msg/CompressedImage → the engine's tensor, decoded on the worker."""

    def __init__(self, binding: InputBinding) -> None:
        """Raises OptionError where frames cannot be decoded to the encoding, or Pillow is not installed."""
        if binding.encoding not in COMPRESSED_ENCODINGS:
            known = ", ".join(COMPRESSED_ENCODINGS)
            raise OptionError(f"compressed images are decoded to {known}, not to {binding.encoding!r}")
        self._encoding, options = checked_image(binding)
        try:
            self._pillow: Any = importlib.import_module("PIL.Image")
            self._turn = importlib.import_module("PIL.ImageOps").exif_transpose if options["exif"] else None
        except ImportError as error:
            raise OptionError(
                "compressed images need Pillow, which is not installed here: use the runtime image, or "
                "`pip install pillow`"
            ) from error
        self._mode, self._reverse = _MODES.get(binding.encoding, ""), binding.encoding == "bgr8"
        self._depth = DepthValues(self._encoding, options) if self._encoding.depth else None
        self._size = (binding.width, binding.height)

    def take(self, message: bytes) -> Taken:
        """View the compressed bytes. Raises FrameRefusedError."""
        fields = Fields(message)
        stamp, form = fields.header(), fields.text()
        data = fields.sequence("u1")
        if "compressedDepth" in form:
            return Taken(stamp, self._packed_depth(form, data))
        start = data[:8].tobytes()
        if not start.startswith(_MAGIC):
            raise FrameRefusedError(
                f"format {form!r} with bytes that begin {start.hex() or 'nowhere'}, expected JPEG or PNG", "encoding"
            )
        self._check_bits(form, data, png=start == _MAGIC[1])
        return Taken(stamp, _Packed(data))

    def _check_bits(self, form: str, data: npt.NDArray[np.uint8], *, png: bool) -> None:
        bits = int(data[_PNG_DEPTH_AT]) if png and data.size > _PNG_DEPTH_AT else 8
        if self._mode and bits == 16:
            raise FrameRefusedError(
                f"format {form!r} is a PNG of 16 bits a channel, 8 are expected: publish it as 8 bits (rgb8, bgr8, "
                "mono8), or declare encoding: mono16 (thermal) or 16UC1 (depth)",
                "encoding",
            )
        if not self._mode and (bits != 16 or self._encoding.dtype == "float32"):
            raise FrameRefusedError(
                f"format {form!r} has {bits} bits a channel, expected {self._encoding.name}: of 16 bits a PNG is "
                "needed, of 32FC1 compressedDepth",
                "encoding",
            )

    def _packed_depth(self, form: str, data: npt.NDArray[np.uint8]) -> _Packed:
        size, floats = _DEPTH_HEADER.size, self._encoding.dtype == "float32"
        if self._depth is None or form.partition(";")[0].strip() != self._encoding.name:
            raise FrameRefusedError(
                f"format {form!r}, expected {self._encoding.name}: declare encoding: {form.partition(';')[0].strip()}",
                "encoding",
            )
        if data[size : size + 8].tobytes() != _MAGIC[1]:
            raise FrameRefusedError(f"format {form!r} without a PNG in it: set the driver's format to png", "encoding")
        _, first, second = _DEPTH_HEADER.unpack(data[:size].tobytes())
        return _Packed(data[size:], (first, second) if floats else None)

    def fill(self, data: _Packed, tensor: npt.NDArray[Any]) -> None:
        """Decode. Raises FrameRefusedError."""
        try:
            with self._pillow.open(io.BytesIO(data.data.tobytes()), formats=("JPEG", "PNG")) as opened:
                picture = opened if self._turn is None else self._upright(opened)
                self._check(picture.size)
                if self._turn is None and self._mode:
                    picture.draft(self._mode, self._size)
                decoded = np.asarray(picture.convert(self._mode) if self._mode else picture)
        except FrameRefusedError:
            raise
        except Exception as error:  # Pillow's have no common base: OSError, SyntaxError, ValueError, its own
            raise FrameRefusedError(f"a compressed image cannot be decoded: {error}", "undecodable") from error
        if self._mode:
            target = tensor[0]
            np.copyto(target, decoded[..., ::-1] if self._reverse else decoded.reshape(target.shape))
        else:
            self._fill_wide(decoded, data.quantized, tensor)

    def _upright(self, opened: Any) -> Any:
        """Turn it as its EXIF tag says. A small file may claim to be a huge picture, so its size is looked at first."""
        if opened.size not in (self._size, self._size[::-1]):
            self._check(opened.size)
        assert self._turn is not None
        return self._turn(opened)

    def _fill_wide(
        self, decoded: npt.NDArray[Any], quantized: tuple[float, float] | None, tensor: npt.NDArray[Any]
    ) -> None:
        if decoded.ndim != 2:
            raise FrameRefusedError(f"{decoded.ndim and decoded.shape[-1]} channels, expected one", "encoding")
        if self._depth is None:
            np.copyto(tensor[0].view("<u2")[..., 0], decoded, casting="unsafe")
            return
        if quantized is not None:
            with np.errstate(divide="ignore"):
                metres = np.float32(quantized[0]) / (decoded.astype(np.float32) - np.float32(quantized[1]))
            decoded = np.where(decoded == 0, np.float32(np.nan), metres)
        self._depth(decoded, tensor)

    def _check(self, size: tuple[int, int]) -> None:
        """Before anything is decoded: a small file may claim to be a huge picture."""
        if size != self._size:
            raise FrameRefusedError(f"{size[0]}x{size[1]} pixels, expected {self._size[0]}x{self._size[1]}", "size")
