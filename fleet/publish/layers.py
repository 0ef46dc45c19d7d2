"""Deterministic image layers: the same files give the same bytes on every machine at any time, streamed."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from fleet.errors import BuildError
from fleet.publish.streams import PIECE, reader_of
from runtime.contract.codec import ContractError, canonical_json, from_json
from runtime.contract.engine.build import GOLDEN_FILE, IDENTITY_FILE, EngineIdentity, FileFacts
from runtime.contract.node.runtime_config import CONFIG_PATH, ENGINES_DIR, RuntimeConfig

BLOCK = 512
#: tar ends in two zero blocks; writers pad to records of 10 KiB, which readers do not ask for.
END = b"\0" * (2 * BLOCK)


@dataclass(frozen=True)
class Entry:
    """One file of a layer."""

    path: str
    """Inside the image, without a leading slash."""
    content: Path | bytes

    @cached_property
    def size(self) -> int:
        """Bytes. Raises OSError."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    def facts(self) -> FileFacts:
        """Return size and hash; reads the content once."""
        sha256 = hashlib.sha256()
        for piece in self.pieces():
            sha256.update(piece)
        return FileFacts(self.size, sha256.hexdigest())

    def pieces(self) -> Iterator[bytes]:
        """Yield the content; refuse a file that changed its size since the layer was measured."""
        if isinstance(self.content, bytes):
            yield self.content
            return
        left = self.size
        with self.content.open("rb", buffering=0) as file:
            while left and (piece := file.read(min(PIECE, left))):
                left -= len(piece)
                yield piece
            if left or file.read(1):
                raise BuildError(f"{self.content}: changed while it was published", hint="run the command again")


def layer_frame(paths: Sequence[str]) -> bytes:
    """Return the directories that a layer with these files begins with."""
    return b"".join(_directory(path) for path in _parents(paths))


class Layer:
    """An uncompressed tar, so its digest is also its diff id. A `fleet.ports.BlobSource`; nothing is held in memory."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = tuple(sorted(entries, key=lambda entry: entry.path))
        if len({entry.path for entry in self.entries}) != len(self.entries):
            raise ValueError("a layer holds each path once")
        self._directories = layer_frame([entry.path for entry in self.entries])

    @cached_property
    def size(self) -> int:
        """Bytes of the tar. Raises OSError."""
        files = sum(BLOCK + entry.size + len(padding(entry.size)) for entry in self.entries)
        return len(self._directories) + files + len(END)

    def files(self) -> dict[str, FileFacts]:
        """Return the layer's files by their last name; reads them once."""
        return {PurePosixPath(each.path).name: each.facts() for each in self.entries}

    @cached_property
    def digest(self) -> str:
        """``sha256:<hex>``; reads the files once."""
        sha256 = hashlib.sha256()
        for piece in self._pieces():
            sha256.update(piece)
        return f"sha256:{sha256.hexdigest()}"

    def open(self) -> BinaryIO:
        """Open the tar from its start."""
        return reader_of(self._pieces())

    def _pieces(self) -> Iterator[bytes]:
        yield self._directories
        for entry in self.entries:
            yield header(entry.path, entry.size)
            yield from entry.pieces()
            yield padding(entry.size)
        yield END


def engine_layer(folder: Path, model: str) -> Layer:
    """Return the layer of one engine out of a builder's result folder: engine, identity, golden data, nothing else.

    Raises BuildError when one of them is missing or the identity is of something else.
    """
    identity = read_identity(folder)
    if identity.model != model:
        raise BuildError(
            f"{folder}: holds an engine of model {identity.model!r}, not {model!r}", hint="build the engine again"
        )
    files = {name: folder / name for name in (identity.engine_file, IDENTITY_FILE, GOLDEN_FILE)}
    if missing := [name for name, path in files.items() if not path.is_file()]:
        raise BuildError(f"{folder}: the build left no {', '.join(missing)}", hint="build the engine again")
    if (size := files[identity.engine_file].stat().st_size) != identity.engine_bytes:
        raise BuildError(
            f"{files[identity.engine_file]}: {size} bytes, but {IDENTITY_FILE} says {identity.engine_bytes}",
            hint="build the engine again",
        )
    inside = engine_folder(model, identity.precision)
    return Layer([Entry(str(inside / name), path) for name, path in files.items()])


def read_identity(folder: Path) -> EngineIdentity:
    """Return the engine's sidecar. Raises BuildError."""
    path = folder / IDENTITY_FILE
    try:
        identity = from_json(EngineIdentity, path.read_bytes())
    except (OSError, ContractError) as error:
        raise BuildError(f"{path}: not an engine's identity: {error}", hint="build the engine again") from error
    if PurePosixPath(identity.engine_file).name != identity.engine_file:
        raise BuildError(f"{path}: engine_file {identity.engine_file!r} is not a file name", hint="build it again")
    return identity


def config_layer(config: RuntimeConfig) -> Layer:
    """Return the layer with ``runtime.json``."""
    return Layer([Entry(CONFIG_PATH.lstrip("/"), canonical_json(config))])


def engine_folder(model: str, precision: str) -> PurePosixPath:
    """Return where an engine lies inside an image."""
    return PurePosixPath(ENGINES_DIR.lstrip("/")) / model / precision


def _parents(paths: Sequence[str]) -> list[str]:
    parents = {str(parent) for path in paths for parent in PurePosixPath(path).parents}
    return sorted(parents - {"."})


def header(path: str, size: int) -> bytes:
    """Return the block before a file's content."""
    info = tarfile.TarInfo(path)
    info.size, info.mode, info.mtime = size, 0o644, 0
    return _encoded(info)


def _directory(path: str) -> bytes:
    info = tarfile.TarInfo(path)
    info.type, info.mode, info.mtime = tarfile.DIRTYPE, 0o755, 0
    return _encoded(info)


def _encoded(info: tarfile.TarInfo) -> bytes:
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    # One block each: a longer name raises ValueError, where GNU's and pax's extensions would add blocks of their own.
    return info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")


def padding(size: int) -> bytes:
    """Return what fills the block after a file's content."""
    return b"\0" * (-size % BLOCK)
