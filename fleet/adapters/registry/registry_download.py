"""Download of one blob: hashed while it streams, continued by Range when the link breaks, never half there."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import requests

from fleet.adapters.least_rate import TooSlow, pieces
from fleet.adapters.registry.registry_auth import Scopes
from fleet.adapters.registry.registry_errors import DigestMismatch, TransientRegistryError, link_broken
from fleet.adapters.registry.registry_http import RegistryHttp, Request
from fleet.errors import OutsideError, RegistryError

_PIECE = 1 << 20
CheckRoom = Callable[[int], None]


class BlobDownload:
    """Moves one blob into an open file."""

    def __init__(self, http: RegistryHttp, repository: str, digest: str, scopes: Scopes) -> None:
        self._http = http
        self._digest = digest
        self._scopes = scopes
        self._url = f"{http.base_url}/v2/{repository}/blobs/{digest}"
        self._what = f"download of {digest[:19]}… from {repository}"

    def run(self, sink: BinaryIO, *, limit: int | None = None, check_room: CheckRoom = lambda _size: None) -> None:
        """Fill ``sink`` and check the digest; at most ``limit`` bytes, or as many as the registry announces.

        ``check_room`` is called with that many before the first byte is written, and may raise. Raises RegistryError.
        """
        sha256, offset, failures = hashlib.sha256(), 0, 0
        while True:
            before = offset
            try:
                response = self._open(offset)
                if offset and response.status_code != 206:
                    offset = _rewind(sink)
                    sha256 = hashlib.sha256()
                limit = self._limit(response, offset) if limit is None else limit
                check_room(limit - offset)
                offset = self._receive(response, sink, sha256, offset, limit)
                break
            except _Broken as broken:
                offset, error = broken.offset, broken.error
            except TransientRegistryError as transient:
                error = transient
            failures = 1 if offset > before else failures + 1
            if failures >= self._http.retry.tries:
                raise error
            self._http.pause(failures, error)
        if (got := f"sha256:{sha256.hexdigest()}") != self._digest:
            raise DigestMismatch(self._http.host, self._what, self._digest, got)

    def _open(self, offset: int) -> requests.Response:
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        accept = frozenset({200, 206, 404})
        request = Request("GET", self._url, self._what, self._scopes, headers, accept=accept)
        response = self._http.open_stream(request)
        if response.status_code == 404:
            response.close()
            raise RegistryError(
                f"{self._http.host}: {self._what}: the registry does not have it (any more)",
                hint="it was deleted or garbage-collected: build and publish again",
            )
        return response

    def _limit(self, response: requests.Response, offset: int) -> int:
        announced = response.headers.get("Content-Length", "")
        if re.fullmatch("[0-9]{1,15}", announced):
            return offset + int(announced)
        response.close()
        raise RegistryError(
            f"{self._http.host}: {self._what}: the registry does not say how large it is",
            hint="look at the registry, and at a proxy before it: a blob's answer has a Content-Length",
        )

    def _receive(
        self, response: requests.Response, sink: BinaryIO, sha256: hashlib._Hash, offset: int, limit: int
    ) -> int:
        announced = response.headers.get("Content-Length", "")
        expected = int(announced) if re.fullmatch("[0-9]{1,15}", announced) else -1
        start = offset
        try:
            for piece in pieces(response, _PIECE):
                offset += len(piece)
                if offset > limit:
                    raise RegistryError(
                        f"{self._http.host}: {self._what}: larger than the {limit} bytes that it may have",
                        hint="something else is stored there, or the registry is damaged: publish again",
                    )
                sink.write(piece)
                sha256.update(piece)
        except TooSlow as slow:
            raise RegistryError(
                f"{self._http.host}: {self._what}: {slow}", hint="look at the registry and at the link to it"
            ) from slow
        except requests.RequestException as error:
            raise _broken(offset, link_broken(self._http.host, self._what, error)) from error
        finally:
            response.close()
        if 0 <= offset - start < expected:
            short = f"{self._http.host}: {self._what}: the link broke after {offset} bytes"
            raise _Broken(offset, TransientRegistryError(short, hint="run the command again"))
        return offset


class _Broken(Exception):
    """The link broke at ``offset``; what came before is in the sink."""

    def __init__(self, offset: int, error: TransientRegistryError) -> None:
        super().__init__(str(error))
        self.offset = offset
        self.error = error


def _broken(offset: int, error: RegistryError) -> Exception:
    return _Broken(offset, error) if isinstance(error, TransientRegistryError) else error


def _rewind(sink: BinaryIO) -> int:
    """Begin again: the registry ignored the Range and sends everything."""
    sink.seek(0)
    sink.truncate()
    return 0


def download_to_file(download: BlobDownload, to: Path, size: int | None) -> None:
    """Run a download into a temporary file beside ``to``, sync it, and rename it into place."""
    try:
        _download_atomically(download, to, size)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise OutsideError(
            f"{to}: cannot be written: {error}",
            hint="free space on this disk and run the command again" if full else "check the folder's permissions",
        ) from error


def _check_room(to: Path, count: int) -> None:
    free = shutil.disk_usage(to.parent).free
    if count > free:
        raise OutsideError(
            f"{to}: {count / 1e6:.0f} MB are to come, {free / 1e6:.0f} MB are free",
            hint="free space on this disk and run the command again",
        )


def _download_atomically(download: BlobDownload, to: Path, size: int | None) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{to.name}.", suffix=".part", dir=to.parent)
    try:
        with os.fdopen(descriptor, "wb") as sink:
            download.run(sink, limit=size, check_room=lambda count: _check_room(to, count))
            sink.flush()
            os.fsync(sink.fileno())
        Path(name).replace(to)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
