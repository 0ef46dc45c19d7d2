"""Chunked upload of one blob that continues where the registry left off (OCI distribution specification)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from fleet.adapters.registry.registry_auth import Scopes
from fleet.adapters.registry.registry_errors import TransientRegistryError, refused
from fleet.adapters.registry.registry_http import Body, RegistryHttp, Reply, Request
from fleet.adapters.retry import retried
from fleet.errors import RegistryError
from fleet.ports import BlobSource

#: Bytes of one PATCH. Registries sync their disk at the end of each, so few and large are faster. Small ones would not
#: resume better: most registries keep what they got of a broken PATCH, and distribution 2.x drops the whole upload for
#: it (its upload state must name the offset), whatever was whole before. A proxy's limit (413) makes them smaller.
CHUNK_BYTES = 256 << 20
_MIN_CHUNK_BYTES = 512 << 10
#: Bytes handed to the socket at once.
_PIECE = 1 << 20
#: A blob up to this size goes in one request: nothing worth resuming, and one request less.
_SMALL = 1 << 20
#: An upload that the registry forgot is begun again this often.
_RESTARTS = 5
_OctetStream = {"Content-Type": "application/octet-stream"}


class _Slice:
    """``length`` bytes of a source from ``offset``: opened again each time it is sent."""

    def __init__(self, source: BlobSource, offset: int, length: int) -> None:
        self._source = source
        self._offset = offset
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[bytes]:
        with self._source.open() as stream:
            _skip(stream, self._offset)
            left = self._length
            while left:
                piece = stream.read(min(_PIECE, left))
                if not piece:
                    raise RegistryError(
                        f"{self._source.digest}: ended {left} bytes early while it was uploaded",
                        hint="the file changed during the upload: run the command again",
                    )
                left -= len(piece)
                yield piece


class BlobUpload:
    """One upload session after another until the blob is there."""

    def __init__(self, http: RegistryHttp, repository: str, source: BlobSource, scopes: Scopes) -> None:
        self._http = http
        self._source = source
        self._scopes = scopes
        self._start_url = f"{http.base_url}/v2/{repository}/blobs/uploads/"
        self._what = f"upload of {source.digest[:19]}… to {repository}"

    def run(self, chunk_bytes: int) -> None:
        """Upload. Raises RegistryError."""
        if self._source.size <= _SMALL:
            self._monolithic()
            return
        for _ in range(_RESTARTS):
            location = self._begin()
            try:
                complete = self._send_chunks(location, chunk_bytes)
            except _NoChunks:
                self._monolithic()
                return
            if complete is not None and self._finish(complete):
                return
        raise RegistryError(
            f"{self._http.host}: {self._what}: broke off {_RESTARTS} times, and the registry could not continue it",
            hint="check the link; several registries behind one address must share their storage and http secret",
        )

    def _begin(self) -> str:
        reply = self._send("POST", self._start_url, accept={202})
        return self._next(reply)

    def _send_chunks(self, location: str, chunk_bytes: int) -> str | None:
        """Send what is missing; None when the registry does not know the upload any more."""
        offset, failures, size = 0, 0, self._source.size
        while offset < size:
            length = min(chunk_bytes, size - offset)
            try:
                reply = self._patch(location, offset, length)
            except _TooLarge as refusal:
                if length <= _MIN_CHUNK_BYTES:
                    raise refusal.error from refusal
                chunk_bytes = max(length // 4, _MIN_CHUNK_BYTES)
                continue
            except TransientRegistryError as error:
                failures += 1
                if failures >= self._http.retry.tries:
                    raise
                self._http.pause(failures, error)
                reply = self._send("GET", location, accept={204, 202, 200, 404})
            if reply.status in (404, 416):
                return None
            if (received := _received(reply, offset + length)) > offset:
                failures = 0
            location, offset = self._next(reply, location), received
        return location

    def _patch(self, location: str, offset: int, length: int) -> Reply:
        body = _Slice(self._source, offset, length)
        headers = {**_OctetStream, "Content-Range": f"{offset}-{offset + length - 1}"}
        reply = self._send(
            "PATCH", location, body=body, headers=headers, accept={202, 201, 204, 404, 405, 413, 416, 501}, tries=1
        )
        if reply.status in (405, 501):
            raise _NoChunks
        if reply.status == 413:
            raise _TooLarge(refused(self._http.host, self._what, reply.status, reply.body, ""))
        return reply

    def _finish(self, location: str) -> bool:
        """Close the upload. False when it must be begun again. A lost answer is settled by asking for the blob."""
        reply = self._send(
            "PUT", self._with_digest(location), headers=_OctetStream, body=b"", accept={201, 204, 404, 416}
        )
        return reply.status in (201, 204) or self._is_there()

    def _monolithic(self) -> None:
        """Some registries take a blob only in one request."""
        retried(self._put_whole, TransientRegistryError, self._http.retry.tries, self._http.pause)

    def _put_whole(self) -> None:
        # Without a length, requests would send nothing at all in chunks, which some registries refuse (411).
        body = _Slice(self._source, 0, self._source.size) if self._source.size else b""
        try:
            url = self._with_digest(self._begin())
            self._send("PUT", url, headers=_OctetStream, body=body, accept={201, 204}, tries=1)
        except TransientRegistryError:
            if not self._is_there():
                raise

    def _is_there(self) -> bool:
        url = self._start_url.removesuffix("uploads/") + self._source.digest
        # A GET, as not every registry's HEAD can be believed.
        asked = Request(
            "GET", url, self._what, self._scopes, {"Range": "bytes=0-0"}, accept=frozenset({200, 206, 404, 416})
        )
        return self._http.answers(asked) != 404

    def _send(
        self,
        method: str,
        url: str,
        *,
        accept: set[int],
        headers: dict[str, str] | None = None,
        body: bytes | Body | None = None,
        tries: int | None = None,
    ) -> Reply:
        request = Request(method, url, self._what, self._scopes, headers or {}, body, frozenset(accept))
        return self._http.send(request, tries=tries)

    def _next(self, reply: Reply, otherwise: str | None = None) -> str:
        location = reply.headers.get("Location")
        if location:
            return self._http.absolute(location, reply.url, self._what)
        if otherwise is None:
            raise RegistryError(
                f"{self._http.host}: {self._what}: the registry began an upload without a Location",
                hint="check that registry.address is an OCI registry, not a web server or a proxy that drops headers",
            )
        return otherwise

    def _with_digest(self, location: str) -> str:
        return f"{location}{'&' if '?' in location else '?'}digest={self._source.digest}"


class _NoChunks(Exception):
    """The registry takes no PATCH."""


class _TooLarge(Exception):
    """The registry, or a proxy before it, takes smaller requests only."""

    def __init__(self, error: RegistryError) -> None:
        super().__init__(str(error))
        self.error = error


def _received(reply: Reply, assumed: int) -> int:
    """Return how many bytes the registry has: ``Range: 0-<last>``. An empty upload says ``0-0``, as one of one byte
    would: 0 is taken, and should it be the other, the registry answers 416 and the upload begins again."""
    value = reply.headers.get("Range", "").removeprefix("bytes=")
    first, dash, last = value.partition("-")
    if not dash or not last.isdigit() or first not in ("0", ""):
        return assumed if reply.status in (201, 202) else 0
    return int(last) + 1 if int(last) else 0


def _skip(stream: BinaryIO, count: int) -> None:
    if not count:
        return
    if stream.seekable():
        stream.seek(count)
        return
    while count:
        piece = stream.read(min(_PIECE, count))
        if not piece:
            return
        count -= len(piece)
