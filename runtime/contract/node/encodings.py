"""What cameras publish, by encoding: one table for the manifest's check, the engine and the executor.

Names and meanings are those of sensor_msgs/image_encodings.hpp; ``nv12`` is what Jetson's camera stack publishes beside
them. Stdlib only, Python 3.8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Tuple

RAW, PNG, JPEG = "raw", "png", "jpeg"
BAYER_ORDERS = ("rggb", "bggr", "gbrg", "grbg")
"""Colours of the first two pixels of the first two rows."""


@dataclass(frozen=True)
class Encoding:
    """How the pixels of one encoding lie in a message, which is also how the engine takes them."""

    name: str
    kind: str
    """colour | grey | grey16 | depth16 | depth32 | uyvy | yuyv | nv12 | bayer"""
    channels: int
    """Values a pixel in the engine's tensor (1, rows, width, channels)."""
    dtype: str = "uint8"
    """Of the engine's tensor. Two bytes a value are two channels, the less significant first: TensorRT takes bytes."""
    order: str = ""
    """Of colours: their letters, as in ``bgra``; of bayer: one of ``BAYER_ORDERS``."""
    same: Tuple[str, ...] = ()
    """Other names for the same bytes."""
    even: bool = False
    """Width and height are even numbers."""
    compressed: bool = False
    """A CompressedImage can be decoded to it."""

    @property
    def pixel_bytes(self) -> int:
        """Bytes of a pixel in a row of a message."""
        return self.channels * (4 if self.dtype == "float32" else 1)

    @property
    def colour(self) -> bool:
        """The frame has colours."""
        return self.kind in ("colour", "uyvy", "yuyv", "nv12", "bayer")

    @property
    def depth(self) -> bool:
        """Its values are distances (REP 118): millimetres (16UC1), or metres (32FC1)."""
        return self.kind in ("depth16", "depth32")

    def rows(self, height: int) -> int:
        """Rows of bytes of an image with ``height`` rows of pixels."""
        return height * 3 // 2 if self.kind == "nv12" else height

    def shape(self, height: int, width: int) -> Tuple[int, int, int, int]:
        """Shape of the engine's tensor."""
        return (1, self.rows(height), width, self.channels)

    def misfit(self, height: int, width: int) -> str:
        """Why an image cannot have this size; empty when it can."""
        if self.even and (width % 2 or (height % 2 and self.kind in ("nv12", "bayer"))):
            return "{}x{} pixels, but {} goes by pairs: width and height must be even".format(width, height, self.name)
        return ""


_ALL = (
    Encoding("rgb8", "colour", 3, order="rgb", compressed=True),
    Encoding("bgr8", "colour", 3, order="bgr", compressed=True),
    Encoding("rgba8", "colour", 4, order="rgba"),
    Encoding("bgra8", "colour", 4, order="bgra"),
    Encoding("8UC3", "colour", 3, order="bgr"),
    Encoding("mono8", "grey", 1, same=("8UC1",), compressed=True),
    Encoding("mono16", "grey16", 2, compressed=True),
    Encoding("16UC1", "depth16", 2, compressed=True),
    Encoding("32FC1", "depth32", 1, "float32", compressed=True),
    Encoding("yuv422", "uyvy", 2, same=("uyvy",), even=True),
    Encoding("yuv422_yuy2", "yuyv", 2, same=("yuyv",), even=True),
    Encoding("nv12", "nv12", 1, even=True),
    *(Encoding("bayer_{}8".format(order), "bayer", 1, order=order, even=True) for order in BAYER_ORDERS),
)

ENCODINGS: Dict[str, Encoding] = {encoding.name: encoding for encoding in _ALL}
"""Every encoding that an input can have."""
COMPRESSED_ENCODINGS = tuple(encoding.name for encoding in _ALL if encoding.compressed)
"""Those that CompressedImage can be decoded to: JPEG and PNG; of 16 bits and of depth, PNG and compressedDepth."""


def meant_by(name: str) -> str:
    """Return the encoding of the table that has this name, in whatever letters; empty when none has."""
    low = name.strip().lower()
    return next((each.name for each in _ALL if low in map(str.lower, (each.name, *each.same))), "")


def hint_for(found: str, expected: str) -> str:
    """Return what to do about frames of another encoding than expected."""
    meant = meant_by(found)
    if meant and (found == meant or found in ENCODINGS[meant].same):
        return "declare encoding: {} for this input, or set the driver to {}".format(meant, expected)
    if meant:
        return "the driver means {}: correct its encoding".format(meant)
    return "set the driver to {}".format(expected) if found else "the driver names no encoding: correct it"
