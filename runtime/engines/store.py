"""An engine's folder: the engine file, its sidecar ``engine.json`` and its golden data. Nothing is trusted unhashed."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from runtime.contract.codec import ContractError, from_json
from runtime.contract.engine.build import GOLDEN_FILE, IDENTITY_FILE, EngineIdentity
from runtime.engines.errors import EngineError

_CHUNK = 1 << 20
_REBUILD = "pull the image again; if it happens again, delete the artifact and run fleet build"


@dataclass(frozen=True)
class EngineFiles:
    """Files of one engine folder; all of them exist."""

    engine: Path
    identity: Path
    golden: Path


def sha256_of(path: Path) -> str:
    """Return the hex sha256 of a file, read in pieces. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file whole: under a temporary name, flushed, then renamed."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def read_identity(folder: Path) -> EngineIdentity:
    """Read the sidecar. Raises EngineError of kind ``corrupt``."""
    sidecar = folder / IDENTITY_FILE
    try:
        return from_json(EngineIdentity, sidecar.read_bytes())
    except OSError as error:
        raise EngineError("corrupt", f"{sidecar} cannot be read: {error.strerror}", _REBUILD) from error
    except ContractError as error:
        raise EngineError("corrupt", f"{sidecar} is not an engine sidecar: {error}", _REBUILD) from error


def load_engine_dir(folder: Path) -> tuple[EngineIdentity, EngineFiles]:
    """Read the sidecar and re-hash the engine beside it. Raises EngineError of kind ``corrupt``."""
    sidecar = folder / IDENTITY_FILE
    identity = read_identity(folder)
    if Path(identity.engine_file).name != identity.engine_file:
        raise EngineError(
            "corrupt", f"{sidecar} names a file outside of its folder: {identity.engine_file!r}", _REBUILD
        )
    files = EngineFiles(folder / identity.engine_file, sidecar, folder / GOLDEN_FILE)
    for path in (files.engine, files.golden):
        if not path.is_file():
            raise EngineError("corrupt", f"{path} is missing", _REBUILD)
    size = files.engine.stat().st_size
    if size != identity.engine_bytes:
        raise EngineError(
            "corrupt", f"{files.engine} has {size} bytes, engine.json says {identity.engine_bytes}", _REBUILD
        )
    found = sha256_of(files.engine)
    if found != identity.engine_sha256:
        raise EngineError(
            "corrupt",
            f"{files.engine} has sha256 {found[:12]}…, engine.json says {identity.engine_sha256[:12]}…",
            _REBUILD,
        )
    return identity, files
