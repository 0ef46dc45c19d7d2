"""The first bytes of a TensorRT plan, which say what built it. Pure Python: nothing is loaded, no GPU is asked.

From TensorRT 9 a plan starts with 28 bytes (TensorRT's own samples read them so)::

    bytes  0– 3   0x74727466, little endian: "ftrt"
    bytes  4– 7   0: the version of this header
    bytes  8–23   not looked at
    bytes 24–27   major, minor, patch, build, one byte each

NVIDIA's samples read it from TensorRT 9 on. Plans of 8.6.0 were seen to start the same way (on an H100); of 8.6.2,
which Orin has, and of 8.5 nothing is known. So a header that is there counts from 8.6 on, and only from 9 on is its
absence held against a file.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

HEADER_BYTES = 28
FIRST_MAJOR = 9
"""The first TensorRT whose plans are known to have the header always: NVIDIA's samples read it."""
_FIRST_SEEN = (8, 6)
_MAGIC = 0x74727466


@dataclass(frozen=True)
class PlanHeader:
    """What a plan says of itself."""

    version: tuple[int, int, int, int]
    """TensorRT's major, minor, patch and build."""

    def __str__(self) -> str:
        return ".".join(str(part) for part in self.version)


def read_plan_header(content: bytes) -> PlanHeader | None:
    """Return the header that ``content`` starts with, or None: too short, older than 8.6, or no plan at all."""
    if len(content) < HEADER_BYTES:
        return None
    magic, header_version = struct.unpack_from("<II", content)
    if magic != _MAGIC or header_version != 0 or (content[24], content[25]) < _FIRST_SEEN:
        return None
    major, minor, patch, build = content[24:HEADER_BYTES]
    return PlanHeader((major, minor, patch, build))
