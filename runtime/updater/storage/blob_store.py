"""Blobs on the robot's disk, whole or in part: what came over the link is never fetched again.

The daemon imports this: nothing here may load OpenSSL (hashlib does), 4 MB of what an idle updater may take.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Iterable, Iterator, Optional

from runtime.contract.json_decoder import WORDS, ContractError, decode_object
from runtime.updater.state.world import WorldError
from runtime.updater.storage.durable import remove

FOLDER = "blobs"
MOVED, LOCK, PARTIAL = "moved.json", "lock", ".partial"
#: So long a fetch waits for the one before it, which is ending.
LOCK_S = 20.0


class BlobStore:
    """``sha256-<hex>`` and ``sha256-<hex>.partial`` in one folder. Written by one process at a time, under its lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def whole(self, digest: str) -> Path:
        """Return where a blob is once it is whole and checked."""
        return self.folder / digest.replace(":", "-")

    def partial(self, digest: str) -> Path:
        """Return where a blob grows."""
        return self.folder / (digest.replace(":", "-") + PARTIAL)

    def size(self, digest: str) -> int:
        """Return the bytes of a blob that are here."""
        for path in (self.whole(digest), self.partial(digest)):
            if path.exists():
                return path.stat().st_size
        return 0

    def keep_only(self, digests: Iterable[str]) -> None:
        """Remove every blob that is none of ``digests``; without any, the count too. Raises OSError."""
        kept = {path.name for digest in digests for path in (self.whole(digest), self.partial(digest))}
        if not self.folder.is_dir():
            return
        for path in self.folder.iterdir():
            if path.name not in kept and (path.name.startswith("sha256-") or (path.name == MOVED and not kept)):
                remove(path)

    def moved(self, order_id: str) -> Optional[int]:
        """Return the bytes that this order took over the network so far; None when that was not counted."""
        try:
            told = decode_object((self.folder / MOVED).read_bytes(), MOVED, WORDS)
            return int(told["bytes"]) if told["order_id"] == order_id else None
        except (OSError, ContractError, ValueError, KeyError, TypeError):
            return None

    def count(self, order_id: str, moved: int) -> None:
        """Remember what :meth:`moved` returns. Raises OSError."""
        temporary = self.folder / (MOVED + ".tmp")
        temporary.write_text(json.dumps({"order_id": order_id, "bytes": moved}), encoding="utf-8")
        temporary.replace(self.folder / MOVED)

    @contextmanager
    def locked(self, wait_s: float = LOCK_S) -> Iterator[None]:
        """Hold the store alone. Raises WorldError when another process keeps it for ``wait_s``."""
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(str(self.folder / LOCK), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _take(descriptor, wait_s)
            yield
        finally:
            os.close(descriptor)


def _take(descriptor: int, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if time.monotonic() > deadline:
                text = "another process has been fetching on this robot for {:g} s".format(wait_s)
                raise WorldError(text, "see `ps` on the robot for `fetching`", transient=True) from error
        time.sleep(0.1)
