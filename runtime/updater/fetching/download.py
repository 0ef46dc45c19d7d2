"""One blob or manifest, from the registry to the robot's disk: goes on where it was cut, and checked at the end."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from pathlib import Path
from typing import Callable, Dict, List, Optional, Set, Tuple

from runtime.contract.json_decoder import ContractError, Limits, decode_object
from runtime.updater.fetching.errors import Stopped, UpstreamError
from runtime.updater.fetching.link import Link, Patience
from runtime.updater.fetching.upstream import MANIFEST_TYPES, Answer, Upstream
from runtime.updater.storage.blob_store import BlobStore
from runtime.updater.storage.durable import remove

#: A power cut may take so many bytes of what came last.
FLUSH_BYTES = 8 * 1024 * 1024
MAX_MANIFEST_BYTES = 4 * 1024 * 1024
_MANIFEST = Limits(size=MAX_MANIFEST_BYTES + 65536, depth=16, values=200000)
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", re.ASCII)
_PIECE = 1024 * 1024
MakePatience = Callable[[], Patience]


def digest_of(path: Path) -> str:
    """Return ``sha256:<hex>`` of a file."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        for piece in iter(lambda: file.read(_PIECE), b""):
            found.update(piece)
    return "sha256:" + found.hexdigest()


class Download:
    """A blob of ``size`` bytes. :meth:`run` brings it, on any thread; :attr:`ended` is set when it is whole or not."""

    def __init__(self, digest: str, size: int, store: BlobStore, upstream: Upstream, link: Link) -> None:
        self.digest, self.size = digest, size
        self.ended = threading.Event()
        self.error: Optional[Exception] = None
        self._store, self._upstream, self._link = store, upstream, link

    @property
    def here(self) -> int:
        """Return the bytes that are on the disk."""
        return min(self.size, self._store.size(self.digest))

    def run(self, patience: Patience) -> None:
        """Bring the blob; never raises, see :attr:`error`."""
        try:
            self._run(patience)
        except (UpstreamError, Stopped, OSError) as error:
            self.error = error
        except Exception as error:  # noqa: BLE001  (a thread's defect must end the fetch, not hang it)
            self.error = error
        finally:
            self.ended.set()

    def _run(self, patience: Patience) -> None:
        resumed = self._store.size(self.digest) > 0
        while not self._store.whole(self.digest).exists():
            try:
                self._go_on()
            except UpstreamError as error:
                patience.wait(error)
                continue
            if not self._accept() and not resumed:
                text = "digest mismatch: the registry's bytes do not have the digest {}".format(self.digest)
                raise UpstreamError(text, "the registry is damaged, or changed: publish the release again")
            resumed = False  # what lay here was damaged: once more from the start

    def _accept(self) -> bool:
        """Check a blob that has all its bytes: whole from now on, or removed and False."""
        partial = self._store.partial(self.digest)
        if digest_of(partial) != self.digest:
            remove(partial)
            return False
        partial.replace(self._store.whole(self.digest))
        return True

    def _go_on(self) -> None:
        partial = self._store.partial(self.digest)
        start = self._store.size(self.digest)
        if start > self.size:
            remove(partial)
            start = 0
        if start == self.size and partial.exists():
            return
        answer = self._upstream.get("blobs/" + self.digest, {"Range": "bytes={}-".format(start)} if start else {})
        try:
            self._copy(answer, start - _answered_from(answer, start))
        finally:
            answer.close()
        if self._store.size(self.digest) < self.size:
            raise UpstreamError("the registry's answer ended early", "check the robot's link", transient=True)

    def _copy(self, answer: Answer, skip: int) -> None:
        """Append the body to the partial file, without the first ``skip`` bytes, which are there."""
        with self._store.partial(self.digest).open("ab") as file:
            loose = 0
            while file.tell() < self.size:
                piece = answer.read(min(self._link.piece, skip + self.size - file.tell()))
                if not piece:
                    break
                kept = piece[skip:]
                skip -= len(piece) - len(kept)
                file.write(kept)
                loose += len(kept)
                if loose >= FLUSH_BYTES:
                    file.flush()
                    os.fsync(file.fileno())
                    loose = 0
                self._link.took(len(piece))
            file.flush()
            os.fsync(file.fileno())


def _answered_from(answer: Answer, start: int) -> int:
    """Return the offset at which the answer begins: ``start``, or 0 from a registry that knows no ranges."""
    if answer.status != 206:
        return 0
    match = _CONTENT_RANGE.fullmatch(answer.header("Content-Range"))
    if match is None or int(match.group(1)) != start:
        raise UpstreamError("the registry returned another range than requested", transient=True)
    return start


class Downloads:
    """Everything of one image that was asked for, each thing once."""

    def __init__(self, store: BlobStore, upstream: Upstream, link: Link, patience: MakePatience) -> None:
        self._store, self._upstream, self._link, self._patience = store, upstream, link, patience
        self._lock = threading.Lock()
        self._sizes: Dict[str, int] = {}
        self._listed: Set[str] = set()
        """Manifests that an index named which was fetched."""
        self._manifests: Dict[str, Tuple[str, bytes]] = {}
        self._blobs: Dict[str, Download] = {}

    def manifest(self, digest: str) -> Tuple[str, bytes]:
        """Return type and bytes of a manifest. Raises UpstreamError, Stopped."""
        with self._lock:
            if digest not in self._manifests:
                self._manifests[digest] = self._get_manifest(digest)
            return self._manifests[digest]

    def knows_manifest(self, digest: str) -> bool:
        """Say whether a manifest is part of the image: the one that was fetched first, or one that it names."""
        return digest in self._manifests or digest in self._listed

    def blob(self, digest: str) -> Optional[Download]:
        """Return the download of a blob that a manifest named, begun; None for any other."""
        with self._lock:
            if digest not in self._sizes:
                return None
            if digest not in self._blobs:
                found = Download(digest, self._sizes[digest], self._store, self._upstream, self._link)
                self._blobs[digest] = found
                threading.Thread(target=found.run, args=(self._patience(),), name=digest[:19], daemon=True).start()
            return self._blobs[digest]

    def size(self, short: str) -> int:
        """Return the size of the blob whose digest begins with these 12 hex; 0 when none does."""
        return next((size for digest, size in self._sizes.items() if digest[7:19] == short), 0)

    def progress(self) -> Tuple[int, int]:
        """Return bytes on disk and bytes in all, of what was asked for."""
        blobs = list(self._blobs.values())
        return sum(blob.here for blob in blobs), sum(blob.size for blob in blobs)

    def error(self) -> Optional[Exception]:
        """Return why a download ended without its blob."""
        return next((blob.error for blob in list(self._blobs.values()) if blob.error is not None), None)

    def _get_manifest(self, digest: str) -> Tuple[str, bytes]:
        patience = self._patience()
        while True:
            try:
                kind, body = self._read_manifest(digest)
                break
            except UpstreamError as error:
                patience.wait(error)
        if "sha256:" + hashlib.sha256(body).hexdigest() != digest:
            text = "digest mismatch: the registry's manifest does not have the digest {}".format(digest)
            raise UpstreamError(text, "the registry is damaged, or changed: publish the release again")
        sizes, listed = _named_in(body)
        self._sizes.update(sizes)
        self._listed.update(listed)
        return kind, body

    def _read_manifest(self, digest: str) -> Tuple[str, bytes]:
        answer = self._upstream.get("manifests/" + digest, {"Accept": MANIFEST_TYPES})
        try:
            pieces: List[bytes] = []
            while sum(map(len, pieces)) <= MAX_MANIFEST_BYTES:
                piece = answer.read(65536)
                if not piece:
                    break
                pieces.append(piece)
            return answer.header("Content-Type"), b"".join(pieces)
        finally:
            answer.close()


def _named_in(body: bytes) -> Tuple[Dict[str, int], Set[str]]:
    """Return digest → size of the blobs that a manifest is made of, and the manifests that an index names.

    Raises UpstreamError for one that is neither.
    """
    try:
        told = decode_object(body, "its answer", _MANIFEST)
        parts = [*told.get("layers", ()), *([told["config"]] if "config" in told else ())]
        sizes = {str(part["digest"]): int(part["size"]) for part in parts}
        if any(size < 0 for size in sizes.values()):
            raise ValueError("a size below zero")
        return sizes, {str(part["digest"]) for part in told.get("manifests", ())}
    except (ContractError, ValueError, KeyError, TypeError, AttributeError) as error:
        text = "the image's manifest cannot be read: {}".format(error)
        raise UpstreamError(text, "publish the release again") from error
