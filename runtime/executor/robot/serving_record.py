"""The velocity publishers that a container's executors had, so that its next one knows them to be gone.

A publisher whose process was killed is seen on the graph until its lease is over, and nothing there tells it from one
that is merely silent. The lock does: it is the kernel's, and it is held for as long as its holder's publishers exist.
So what an earlier holder of **the same lock** (device and inode; a file put in its place is another lock) wrote down is
dead once the lock is in our hands.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path

from runtime.contract.json_decoder import WORDS, decode_object

KEPT = 64
"""GIDs: one an activation and velocity output. Older ones are long forgotten by every graph."""
MAX_BYTES = 16 * 1024


class ServingRecord:
    """See the module. ``lock`` names the lock file that is held: (device, inode)."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, lock: tuple[int, int]) -> frozenset[bytes]:
        """Return the GIDs written under this lock. What cannot be read proves no death, and is nothing."""
        return frozenset(self._read(lock))

    def _read(self, lock: tuple[int, int]) -> list[bytes]:
        try:
            with self._path.open("rb") as stream:
                told = decode_object(stream.read(MAX_BYTES), "the record", WORDS)
            return [bytes.fromhex(gid) for gid in told["gids"]] if told["lock"] == list(lock) else []
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def add(self, lock: tuple[int, int], gids: Collection[bytes]) -> None:
        """Write down publishers of ours, before they say anything. Raises OSError."""
        kept = [*self._read(lock), *gids][-KEPT:]
        text = json.dumps({"lock": list(lock), "gids": [gid.hex() for gid in dict.fromkeys(kept)]})
        part = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        try:
            part.write_text(text + "\n", encoding="ascii")
            part.replace(self._path)
        except OSError:
            part.unlink(missing_ok=True)
            raise
