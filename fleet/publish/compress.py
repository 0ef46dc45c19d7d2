"""Layers as gzip: the same layer gives the same bytes, whoever compresses it and when."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fleet.errors import BuildError
from fleet.publish.archive import require_space

#: docs/registry.md has the measurement: 3 % larger than level 6, at half of its time.
LEVEL = 4
_BLOCK = 1 << 20
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


@dataclass(frozen=True, slots=True)
class CompressedLayer:
    """A gzip layer in a file. A `fleet.ports.BlobSource`."""

    path: Path
    size: int
    digest: str

    def open(self) -> BinaryIO:
        """Open it from its start."""
        return self.path.open("rb")


def compress(layer: Path, diff_id: str, folder: Path) -> CompressedLayer:
    """Return the layer as gzip, its plain bytes checked against ``diff_id``; one that is gzip already stays.

    Raises BuildError when the bytes are not those of the diff id, OutsideError when the disk is too small.
    """
    with layer.open("rb") as file:
        magic = file.read(4)
    if magic == _ZSTD:
        raise BuildError(
            f"layer {diff_id}: compressed with zstd, which Docker on older L4T cannot pull",
            hint="build the image with Docker's default compression",
        )
    if magic.startswith(_GZIP):
        return _as_it_is(layer, diff_id)
    require_space(folder, layer.stat().st_size // 2)
    target = folder / f"{diff_id.removeprefix('sha256:')}.tar.gz"
    with layer.open("rb") as source, target.open("wb") as sink:
        plain = gzip_into(source, sink)
    _check(plain, diff_id)
    with target.open("rb") as file:
        packed = _digest(file)
    return CompressedLayer(target, target.stat().st_size, f"sha256:{packed.hexdigest()}")


def gzip_into(source: BinaryIO, sink: BinaryIO, level: int = LEVEL) -> hashlib._Hash:
    """Write ``source`` to ``sink`` as one gzip member without name and time; return the hash of its plain bytes."""
    plain = hashlib.sha256()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=level, fileobj=sink, mtime=0) as packer:
        while block := source.read(_BLOCK):
            plain.update(block)
            packer.write(block)
    return plain


def _as_it_is(layer: Path, diff_id: str) -> CompressedLayer:
    plain = hashlib.sha256()
    try:
        with gzip.open(layer) as file:
            while piece := file.read(_BLOCK):
                plain.update(piece)
    except (OSError, EOFError, zlib.error) as error:
        raise BuildError(f"layer {diff_id}: broken gzip: {error}", hint="build the image again") from error
    _check(plain, diff_id)
    with layer.open("rb") as file:
        packed = _digest(file)
    return CompressedLayer(layer, layer.stat().st_size, f"sha256:{packed.hexdigest()}")


def _digest(file: BinaryIO) -> hashlib._Hash:
    sha256 = hashlib.sha256()
    while piece := file.read(_BLOCK):
        sha256.update(piece)
    return sha256


def _check(plain: hashlib._Hash, diff_id: str) -> None:
    if (got := f"sha256:{plain.hexdigest()}") != diff_id:
        raise BuildError(
            f"layer {diff_id}: digest mismatch: got {got}", hint="the export was damaged: build the image again"
        )
