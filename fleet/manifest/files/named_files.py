"""Files that a manifest names: where they may be, and what their content hashes to."""

from __future__ import annotations

import hashlib
import os
import stat
from functools import lru_cache
from pathlib import Path


def inside(root: Path, folder: Path, name: str) -> Path | None:
    """Return ``name`` relative to ``folder``, or None when that leaves ``root``.

    The manifest's folder is what is reviewed in git and copied to CI, so everything that it names is in it. Symbolic
    links are not followed for this: large data may live elsewhere, with the link as the reviewed name.
    """
    relative = Path(os.path.normpath(Path(os.path.relpath(folder, root)) / name))
    return None if relative.is_absolute() or relative.parts[:1] == ("..",) else root / relative


def why_no_file(path: Path) -> str:
    """Return why ``path`` is not a file that can be opened, to follow its name in a sentence; empty when it is one."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return "does not exist"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    if stat.S_ISREG(mode):
        return ""
    return "is a folder" if stat.S_ISDIR(mode) else "is not a file"


def file_sha256(path: Path) -> str:
    """Return the hex sha256 of a file. Hashed once for as long as size and time of the file stay. Raises OSError."""
    status = path.stat()
    return _hash(path, status.st_size, status.st_mtime_ns, status.st_ino)


@lru_cache(maxsize=65536)
def _hash(path: Path, _size: int, _mtime_ns: int, _inode: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


CALIBRATION_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".npz"})


def calibration_files(path: Path) -> list[Path]:
    """Return the samples of calibration data, sorted by name: the file itself, or the images and .npz of a folder.

    Sub-folders are not searched; other files (a README) are no samples. Raises OSError.
    """
    if not path.is_dir():
        return [path]
    return sorted(
        (file for file in path.iterdir() if file.suffix.lower() in CALIBRATION_SUFFIXES and file.is_file()),
        key=lambda file: file.name,
    )
