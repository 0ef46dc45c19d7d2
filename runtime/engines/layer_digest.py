"""The digest of an engine's layer, out of the files in its folder: what a signed release names the engine's bytes by.

The layer is a tar whose every byte follows from the files' names and bytes, as ``fleet.publish.layers`` writes it (held
against that in ``tests/contract``): folders first, then the files by name, no owners, no times.
"""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path, PurePosixPath

from runtime.contract.engine.build import GOLDEN_FILE, IDENTITY_FILE
from runtime.contract.node.runtime_config import ENGINES_DIR
from runtime.engines.errors import EngineError
from runtime.engines.store import read_identity

_PIECE = 1 << 20
_BLOCK = 512


def layer_digest(folder: Path) -> str:
    """Return ``sha256:<hex>`` of the layer of the engine in ``folder``; reads its files once. Raises EngineError."""
    identity = read_identity(folder)
    inside = PurePosixPath(ENGINES_DIR.lstrip("/")) / identity.model / identity.precision
    sha256 = hashlib.sha256()
    try:
        for parent in sorted(str(each) for each in (inside, *inside.parents) if str(each) != "."):
            sha256.update(_header(parent, 0, tarfile.DIRTYPE, 0o755))
        for name in sorted((identity.engine_file, IDENTITY_FILE, GOLDEN_FILE)):
            size = (folder / name).stat().st_size
            sha256.update(_header(str(inside / name), size, tarfile.REGTYPE, 0o644))
            with (folder / name).open("rb") as stream:
                while piece := stream.read(_PIECE):
                    sha256.update(piece)
            sha256.update(b"\0" * (-size % _BLOCK))
    except (OSError, ValueError) as error:
        raise EngineError("corrupt", f"{folder} cannot be read: {error}", "put the engine in again, whole") from error
    sha256.update(b"\0" * (2 * _BLOCK))
    return f"sha256:{sha256.hexdigest()}"


def _header(path: str, size: int, kind: bytes, mode: int) -> bytes:
    info = tarfile.TarInfo(path)
    info.size, info.type, info.mode, info.mtime = size, kind, mode, 0
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")
