"""Download of one blob: hashed while it streams, continued by Range when the link breaks, never half there."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import requests

from fleet.adapters.least_rate import TooSlow
from fleet.adapters.received_file import Received, TooLarge, replaced_whole
from fleet.adapters.registry.registry_auth import Scopes
from fleet.adapters.registry.registry_errors import DigestMismatch, TransientRegistryError, link_broken
from fleet.adapters.registry.registry_http import RegistryHttp, Request
from fleet.errors import OutsideError, RegistryError

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
        received, failures = Received(sink), 0
        while True:
            before = received.count
            try:
                response = self._open(received.count)
                if received.count and response.status_code != 206:
                    received.restart()  # the registry ignored the Range and sends everything
                limit = self._limit(response, received.count) if limit is None else limit
                check_room(limit - received.count)
                self._receive(response, received, limit)
                break
            except TransientRegistryError as transient:
                error = transient
            failures = 1 if received.count > before else failures + 1
            if failures >= self._http.retry.tries:
                raise error
            self._http.pause(failures, error)
        if (got := f"sha256:{received.sha256}") != self._digest:
            raise DigestMismatch(self._http.host, self._what, self._digest, got)

    def _open(self, offset: int) -> requests.Response:
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        accept = frozenset({200, 206, 404})
        request = Request("GET", self._url, self._what, self._scopes, headers, accept=accept)
        response = self._http.open_stream(request)
        if response.status_code == 404:
            response.close()
            raise RegistryError(
                f"{self._http.host}: {self._what}: the registry does not have it",
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

    def _receive(self, response: requests.Response, received: Received, limit: int) -> None:
        announced = response.headers.get("Content-Length", "")
        expected = int(announced) if re.fullmatch("[0-9]{1,15}", announced) else -1
        start = received.count
        try:
            received.take(response, limit)
        except TooLarge as error:
            raise RegistryError(
                f"{self._http.host}: {self._what}: larger than the {limit} bytes that it may have",
                hint="something else is stored there, or the registry is damaged: publish again",
            ) from error
        except TooSlow as slow:
            raise RegistryError(
                f"{self._http.host}: {self._what}: {slow}", hint="look at the registry and at the link to it"
            ) from slow
        except requests.RequestException as error:
            raise link_broken(self._http.host, self._what, error) from error
        finally:
            response.close()
        if 0 <= received.count - start < expected:
            short = f"{self._http.host}: {self._what}: the link broke after {received.count} bytes"
            raise TransientRegistryError(short, hint="run the command again")


def download_to_file(download: BlobDownload, to: Path, size: int | None) -> None:
    """Download into ``to``: whole, or not at all. Raises RegistryError and OutsideError."""
    try:
        with replaced_whole(to) as sink:
            download.run(sink, limit=size, check_room=lambda count: _check_room(to, count))
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
