"""Names, shapes and types of the arrays in an .npz file, without unpacking them."""

from __future__ import annotations

import ast
import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO

_MAGIC = b"\x93NUMPY"
_DESCR = {
    "|u1": "uint8", "|i1": "int8", "|b1": "bool", "<f2": "float16", "<f4": "float32", "<f8": "float64",
    "<i2": "int16", "<i4": "int32", "<i8": "int64", "<u2": "uint16", "<u4": "uint32", "<u8": "uint64",
}  # fmt: skip
_HEADER_MAX = 64 * 1024


class NotNpz(ValueError):
    """Not an .npz file of plain arrays. The message continues a sentence that starts with the file's name."""


def read_npz_header(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return array name → (shape, dtype). Raises NotNpz, also for arrays of Python objects."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {_name(info.filename): _array(archive, info) for info in archive.infolist()}
    except (zipfile.BadZipFile, zlib.error, OSError, struct.error, NotImplementedError, RuntimeError) as error:
        raise NotNpz(f"is not an .npz file: {error}") from error


def _name(filename: str) -> str:
    return filename[:-4] if filename.endswith(".npy") else filename


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> tuple[tuple[int, ...], str]:
    with archive.open(info) as file:
        header = _header(file, info.filename)
    shape, descr = header.get("shape"), header.get("descr")
    if not isinstance(shape, tuple) or not all(isinstance(size, int) and size >= 0 for size in shape):
        raise NotNpz(f"has a broken header in {info.filename}")
    if not isinstance(descr, str) or not re.fullmatch(r"[<>|=][biufc]\d+", descr):
        raise NotNpz(f"has an array of a type that is not plain numbers: {_name(info.filename)}")
    return shape, _DESCR.get(descr, descr)


def _header(file: IO[bytes], name: str) -> dict[str, object]:
    start = file.read(8)
    if len(start) < 8 or start[:6] != _MAGIC:
        raise NotNpz(f"has something that is not an array in it: {name}")
    wide = start[6] >= 2
    (length,) = struct.unpack("<I" if wide else "<H", file.read(4 if wide else 2))
    try:
        header = ast.literal_eval(file.read(min(length, _HEADER_MAX)).decode("latin-1").strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise NotNpz(f"has a broken header in {name}") from error
    if not isinstance(header, dict):
        raise NotNpz(f"has a broken header in {name}")
    return header
