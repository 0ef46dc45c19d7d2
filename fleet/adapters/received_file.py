"""A file filled from HTTP answers: hashed while it streams, bounded, and never half there under its own name."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import requests

from fleet.adapters.least_rate import pieces

_PIECE = 1 << 20


class TooLarge(Exception):
    """More bytes came than may come."""


class Received:
    """An open file and what is in it so far."""

    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink
        self._sha256 = hashlib.sha256()
        self.count = 0
        """Bytes in the file. They stay when :meth:`take` raises, so that a download can go on after them."""

    @property
    def sha256(self) -> str:
        """Of the bytes so far, 64 hex digits."""
        return self._sha256.hexdigest()

    def take(self, response: requests.Response, limit: int) -> None:
        """Append the body; at most ``limit`` bytes in all. Raises TooLarge, TooSlow and requests' errors."""
        for piece in pieces(response, _PIECE):
            if self.count + len(piece) > limit:
                raise TooLarge
            self._sink.write(piece)
            self._sha256.update(piece)
            self.count += len(piece)

    def restart(self) -> None:
        """Empty the file: everything comes again."""
        self._sink.seek(0)
        self._sink.truncate()
        self._sha256, self.count = hashlib.sha256(), 0


@contextmanager
def replaced_whole(to: Path) -> Iterator[BinaryIO]:
    """Open a temporary file in the folder of ``to``; sync it and rename it to ``to`` when all went well.

    Raises OSError; nothing is left of the temporary file then.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{to.name}.", suffix=".part", dir=to.parent)
    try:
        with os.fdopen(descriptor, "wb") as sink:
            yield sink
            sink.flush()
            os.fsync(sink.fileno())
        Path(name).replace(to)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
