"""Release folders and links on the robot's disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Optional, Tuple

from runtime.updater.state.world import Files, Links, WorldError
from runtime.updater.storage.durable import (
    fsync_dir,
    point_link,
    remove,
    remove_tree,
    replace_durable,
    share,
    write_durable,
)


class ReleaseFolders:
    """``releases/<name>/``, ``current`` and ``previous`` below ``root``."""

    def __init__(self, root: Path) -> None:
        self._base = root

    @property
    def _releases(self) -> Path:
        return self._base / "releases"

    def write_release(self, folder: str, files: Files) -> Tuple[str, ...]:
        """Write a release folder whole, on disk when this returns; return the files there that were not as given."""
        place = self._releases / folder
        try:
            self._releases.mkdir(parents=True, exist_ok=True)
            if place.exists():
                return _mend(place, files)
            _create(place, files)
            return ()
        except OSError as error:
            raise _trouble("write", place, error) from error

    def read_release(self, folder: str, name: str) -> str:
        """Return one file of a release folder."""
        path = self._releases / folder / name
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise _trouble("read", path, error) from error

    def releases(self) -> Tuple[str, ...]:
        """Return the names of all release folders, half-written ones included."""
        if not self._releases.is_dir():
            return ()
        return tuple(sorted(path.name for path in self._releases.iterdir() if path.is_dir()))

    def remove_release(self, folder: str) -> None:
        """Remove a release folder; one that is gone is fine."""
        try:
            remove_tree(self._releases / folder)
        except OSError as error:
            raise _trouble("remove", self._releases / folder, error) from error

    def links(self) -> Links:
        """Return where ``current`` and ``previous`` point."""
        return Links(self._link("current"), self._link("previous"))

    def set_links(self, links: Links) -> None:
        """Point ``current`` and ``previous``, each atomically."""
        for name, folder in (("current", links.current), ("previous", links.previous)):
            link = self._base / name
            try:
                if folder is None:
                    remove(link)
                else:
                    point_link(link, "releases/" + folder)
            except OSError as error:
                raise _trouble("link", link, error) from error

    def _link(self, name: str) -> Optional[str]:
        link = self._base / name
        return Path(os.readlink(str(link))).name if link.is_symlink() else None  # noqa: PTH115


def _create(place: Path, files: Files) -> None:
    temporary = place.with_name(".new-" + place.name)
    remove_tree(temporary)
    temporary.mkdir()
    share(temporary, 0o755)
    for name in sorted(files):
        write_durable(temporary / name, files[name].content.encode("utf-8"), files[name].private)
    fsync_dir(temporary)
    temporary.replace(place)
    fsync_dir(place.parent)


def _mend(place: Path, files: Files) -> Tuple[str, ...]:
    mended = []
    for name in sorted(files):
        path, content = place / name, files[name].content.encode("utf-8")
        if path.is_symlink() or not path.is_file() or path.read_bytes() != content:
            replace_durable(path, content, files[name].private)
            mended.append(name)
    return tuple(mended)


def _trouble(what: str, path: Path, error: Exception) -> WorldError:
    full = isinstance(error, OSError) and error.errno in (28, 122)
    hint = "free space on that volume" if full else "check the folder on the robot"
    return WorldError("cannot {} {}: {}".format(what, path, error), hint)
