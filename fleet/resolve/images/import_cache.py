"""What source files import, kept between commands by the files' content: to parse them again is a third of a short one.

Only ever a shortcut: what is not there, not readable or not to be written is parsed anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

from fleet.cache_folder import cache_dir
from fleet.errors import OutsideError

Parse = Callable[[bytes], tuple[str, ...]]
MOST = 4000
"""Files that are kept; a checkout that is worked on leaves old contents behind."""


class ImportCache:
    """Content → imported modules, for one way of reading them."""

    def __init__(self, parse: Parse, reader: Path) -> None:
        """``reader``: the file with the rules; when it changes, nothing that was kept counts any more."""
        self._parse = parse
        self._reader = reader
        self._known: dict[str, list[str]] | None = None
        self._used: set[str] = set()
        self._new = False

    def imports(self, source: bytes) -> tuple[str, ...]:
        """Return what ``parse`` says of a file's content."""
        if self._known is None:
            self._known = self._load()
        key = hashlib.sha256(source).hexdigest()
        self._used.add(key)
        if key not in self._known:
            self._known[key] = list(self._parse(source))
            self._new = True
        return tuple(self._known[key])

    def keep(self) -> None:
        """Write down what was parsed, if anything was. A cache that cannot be written costs time and nothing else."""
        if not self._new or self._known is None:
            return
        self._new = False
        path = self._path()
        if path is None:
            return
        if len(self._known) > MOST:
            self._known = {key: names for key, names in self._known.items() if key in self._used}
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f"{path.name}.{os.getpid()}")
            part.write_text(json.dumps(self._known), encoding="utf-8")
            part.replace(path)

    def _path(self) -> Path | None:
        try:
            return cache_dir() / f"imports-{hashlib.sha256(self._reader.read_bytes()).hexdigest()[:16]}.json"
        except OutsideError:
            return None

    def _load(self) -> dict[str, list[str]]:
        path = self._path()
        try:
            found = json.loads(path.read_text(encoding="utf-8")) if path else {}
        except (OSError, ValueError, RecursionError):
            return {}
        whole = isinstance(found, dict) and all(
            isinstance(names, list) and all(isinstance(name, str) for name in names) for names in found.values()
        )
        return found if whole else {}
