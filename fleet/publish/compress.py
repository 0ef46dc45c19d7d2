"""gzip on all cores, always the same bytes: blocks are deflated apart and joined into one member, as pigz does."""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fleet.errors import BuildError
from fleet.publish.archive import require_space

#: docs/registry.md has the measurement: 3 % larger than level 6, at half of its time.
LEVEL = 4
#: Deflated apart: larger costs memory, smaller costs compression. It shapes the result: never take it from the machine.
_BLOCK = 1 << 20
#: No name, no time, unknown system.
_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
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
    plain, packed = hashlib.sha256(), hashlib.sha256()
    with layer.open("rb") as source, target.open("wb") as sink:
        for piece in gzip_pieces(source, plain):
            packed.update(piece)
            sink.write(piece)
    _check(plain, diff_id)
    return CompressedLayer(target, target.stat().st_size, f"sha256:{packed.hexdigest()}")


def gzip_pieces(
    source: BinaryIO, plain: hashlib._Hash, level: int = LEVEL, workers: int | None = None
) -> Iterator[bytes]:
    """Yield one gzip member holding ``source``; ``plain`` takes the bytes before compression."""
    crc, size = 0, 0
    yield _HEADER
    with ThreadPoolExecutor(workers or min(os.cpu_count() or 2, 8)) as pool:
        pending: deque[Future[bytes]] = deque()
        while block := source.read(_BLOCK):
            pending.append(pool.submit(_deflate, block, level))
            plain.update(block)
            crc, size = zlib.crc32(block, crc), size + len(block)
            if len(pending) > 16:
                yield pending.popleft().result()
        for future in pending:
            yield future.result()
    # An empty last block closes the stream that the blocks before left open.
    yield zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS).flush(zlib.Z_FINISH)
    yield struct.pack("<II", crc, size & 0xFFFFFFFF)


def _deflate(block: bytes, level: int) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(block) + packer.flush(zlib.Z_SYNC_FLUSH)


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
        packed = hashlib.file_digest(file, "sha256") if hasattr(hashlib, "file_digest") else _digest(file)
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
