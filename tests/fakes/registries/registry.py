"""A registry in memory with the rules of a real one: blobs before manifests, repositories apart, digests checked."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from pathlib import Path

from fleet.errors import RegistryError
from fleet.ports import BlobSource, OciManifest

Hook = Callable[[str, str], None]
"""Called before every request with its verb (``put_manifest``) and its target; raises to break it."""


class FakeRegistry:
    """`fleet.ports.Registry` without a network. Counts what a real one would have been asked."""

    def __init__(self, host: str = "registry.test:5000", *, mounts: bool = True) -> None:
        self.host = host
        self.mounts = mounts
        """False: refuses every mount, as some registries do."""
        self.requests_made = 0
        self.bytes_pushed = 0
        self.calls: list[tuple[str, str]] = []
        self.hook: Hook | None = None
        self._lock = threading.RLock()
        self._blobs: dict[tuple[str, str], bytes] = {}
        self._manifests: dict[tuple[str, str], OciManifest] = {}
        self._tags: dict[tuple[str, str], str] = {}

    def ping(self) -> None:
        self._request("ping", self.host)

    def head_manifest(self, repository: str, reference: str) -> str | None:
        self._request("head_manifest", f"{repository}:{reference}")
        found = self._find(repository, reference)
        return found.digest if found else None

    def get_manifest(self, repository: str, reference: str) -> OciManifest | None:
        self._request("get_manifest", f"{repository}:{reference}")
        return self._find(repository, reference)

    def put_manifest(self, repository: str, reference: str, body: bytes, media_type: str) -> str:
        self._request("put_manifest", f"{repository}:{reference}")
        with self._lock:
            for digest in _referenced(body):
                if (repository, digest) not in self._blobs:
                    raise RegistryError(
                        f"{self.host}: manifest {repository}:{reference}: MANIFEST_BLOB_UNKNOWN {digest}"
                    )
            manifest = OciManifest(_sha256(body), media_type, body)
            if reference.startswith("sha256:") and reference != manifest.digest:
                raise RegistryError(f"{self.host}: manifest {repository}@{reference}: digest mismatch")
            self._manifests[repository, manifest.digest] = manifest
            if not reference.startswith("sha256:"):
                self._tags[repository, reference] = manifest.digest
            return manifest.digest

    def has_blob(self, repository: str, digest: str) -> bool:
        self._request("has_blob", f"{repository}@{digest}")
        return (repository, digest) in self._blobs

    def mount_blob(self, repository: str, digest: str, from_repository: str) -> bool:
        self._request("mount_blob", f"{repository}@{digest}")
        with self._lock:
            if not self.mounts or (from_repository, digest) not in self._blobs:
                return False
            self._blobs[repository, digest] = self._blobs[from_repository, digest]
            return True

    def check_push(self, repository: str) -> None:
        self._request("check_push", repository)

    def push_blob(self, repository: str, source: BlobSource) -> None:
        if self.has_blob(repository, source.digest):
            return
        self._request("push_blob", f"{repository}@{source.digest}")
        with source.open() as stream:
            content = stream.read()
        if _sha256(content) != source.digest or len(content) != source.size:
            raise RegistryError(f"{self.host}: {repository}: DIGEST_INVALID {source.digest}")
        with self._lock:
            self._blobs[repository, source.digest] = content
            self.bytes_pushed += len(content)

    def read_blob(self, repository: str, digest: str) -> bytes:
        self._request("read_blob", f"{repository}@{digest}")
        try:
            return self._blobs[repository, digest]
        except KeyError:
            raise RegistryError(f"{self.host}: {repository}@{digest}: BLOB_UNKNOWN") from None

    def fetch_blob(self, repository: str, digest: str, to: Path, *, size: int | None = None) -> None:
        content = self.read_blob(repository, digest)
        if size is not None and len(content) > size:
            raise RegistryError(f"{self.host}: {repository}@{digest}: larger than the {size} bytes that it may have")
        to.write_bytes(content)

    def tags(self, repository: str) -> list[str]:
        self._request("tags", repository)
        return sorted(tag for name, tag in self._tags if name == repository)

    def delete_manifest(self, repository: str, digest: str) -> None:
        self._request("delete_manifest", f"{repository}@{digest}")
        with self._lock:
            self._manifests.pop((repository, digest), None)
            self._tags = {k: v for k, v in self._tags.items() if not (k[0] == repository and v == digest)}

    def lose_blob(self, repository: str, digest: str) -> None:
        """Garbage-collect one blob."""
        del self._blobs[repository, digest]

    def adopt_blobs(self, other: FakeRegistry) -> None:
        """Take over all blobs of another registry, as if somebody had pushed them."""
        self._blobs.update(other._blobs)

    def snapshot(self) -> dict[str, str]:
        """Return every tag with its digest, as ``repository:tag``."""
        return {f"{repository}:{tag}": digest for (repository, tag), digest in sorted(self._tags.items())}

    def _find(self, repository: str, reference: str) -> OciManifest | None:
        digest = reference if reference.startswith("sha256:") else self._tags.get((repository, reference), "")
        return self._manifests.get((repository, digest))

    def _request(self, verb: str, target: str) -> None:
        with self._lock:
            self.requests_made += 1
            self.calls.append((verb, target))
        if self.hook:
            self.hook(verb, target)


def _referenced(body: bytes) -> list[str]:
    document = json.loads(body)
    return [part["digest"] for part in (document.get("config"), *document.get("layers", ())) if part]


def _sha256(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()
