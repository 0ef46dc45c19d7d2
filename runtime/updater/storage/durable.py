"""Files that are on disk when a call returns, whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Dict

from runtime.contract.robot.update import OPERATORS_GROUP

try:
    import grp

    _GROUPS: Dict[str, int] = {group.gr_name: group.gr_gid for group in grp.getgrall()}
except ImportError:
    _GROUPS = {}
_DOCKER = _GROUPS.get("docker", -1)
#: Who may ask the updater. Read once: bootstrap makes the group before it starts a daemon.
_OPERATORS = _GROUPS.get(OPERATORS_GROUP, _DOCKER)

#: Folders inside one another that are removed, where others write.
MAX_DEPTH = 64


def share(path: Path, mode: int, operators: bool = False) -> None:
    """Set ``mode`` and, where we may, hand the path to group docker: who may run containers may read it.

    ``operators``: to those who may ask the updater instead; they are not root.
    """
    path.chmod(mode)
    group = _OPERATORS if operators else _DOCKER
    if group >= 0 and os.geteuid() == 0:
        os.chown(str(path), -1, group)


def write_durable(path: Path, body: bytes, private: bool = False) -> Path:
    """Write and fsync ``path``; for a rename that the caller makes. ``private``: owner and group docker only."""
    descriptor = os.open(str(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(body)
        file.flush()
        share(path, 0o640 if private else 0o644)
        os.fsync(file.fileno())
    return path


def replace_durable(path: Path, body: bytes, private: bool = False) -> None:
    """Make ``path`` hold ``body``, atomically, on disk when this returns."""
    temporary = path.with_name(path.name + ".tmp")
    write_durable(temporary, body, private).replace(path)
    fsync_dir(path.parent)


def fsync_dir(folder: Path) -> None:
    """Put the names in ``folder`` on disk."""
    descriptor = os.open(str(folder), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file or link; one that is gone is fine."""
    try:
        path.unlink()
    except FileNotFoundError:
        return


def remove_tree(folder: Path) -> None:
    """Remove a folder and all in it; one that is gone is fine. (shutil would keep 1 MB of compressors in memory.)"""
    if not folder.exists():
        return
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            remove_tree(path)
        else:
            remove(path)
    folder.rmdir()


def remove_foreign(name: str, parent: int, depth: int = MAX_DEPTH) -> None:
    """Remove what ``name`` is in the open folder ``parent``, and all in it, while others may write there.

    No link is followed, also one that is put in a folder's place meanwhile. Raises OSError, for what is nested deeper
    than ``depth`` too.
    """
    try:
        folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    except NotADirectoryError:
        return os.unlink(name, dir_fd=parent)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return os.unlink(name, dir_fd=parent)
    try:
        if depth <= 0:
            raise OSError(errno.ELOOP, "nested too deeply")
        for inside in os.listdir(folder):  # noqa: PTH208  (a descriptor, not a path)
            remove_foreign(inside, folder, depth - 1)
    finally:
        os.close(folder)
    return os.rmdir(name, dir_fd=parent)


def point_link(link: Path, target: str) -> None:
    """Make ``link`` a symlink to ``target``, atomically."""
    if link.is_symlink() and os.readlink(str(link)) == target:  # noqa: PTH115  (Path.readlink is 3.9)
        return
    temporary = link.with_name(link.name + ".tmp")
    remove(temporary)
    temporary.symlink_to(target)
    temporary.replace(link)
    fsync_dir(link.parent)
