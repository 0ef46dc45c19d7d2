"""An OCI registry over HTTP: `fleet.ports.Registry`."""

from __future__ import annotations

import hashlib
import io
import re
import ssl
from pathlib import Path

from fleet.adapters.docker.docker_config import DockerCredentials
from fleet.adapters.http_session import TrustError, authorities
from fleet.adapters.registry.registry_auth import Scopes
from fleet.adapters.registry.registry_calls import DIGEST, RegistryCalls, pull, push
from fleet.adapters.registry.registry_download import BlobDownload, download_to_file
from fleet.adapters.registry.registry_errors import DigestMismatch
from fleet.adapters.registry.registry_heads import Heads
from fleet.adapters.registry.registry_http import RegistryHttp, Request, Timeouts, is_loopback
from fleet.adapters.registry.registry_upload import CHUNK_BYTES, BlobUpload
from fleet.adapters.retry import RetryPolicy
from fleet.adapters.system_clock import SystemClock
from fleet.errors import RegistryError
from fleet.ports import BlobSource, Clock, OciManifest

_NEXT = re.compile(r'<([^>]+)>\s*;[^,]*rel="?next"?')
#: `read_blob` is for documents.
_SMALL_BLOB = 64 << 20
#: Answers to HEAD that are no word on whether it is there: a GET decides (Nexus answers 404 or 405; a store whose
#: signed address is for GET alone answers 403).
_NO_WORD = frozenset({400, 403, 404, 405, 501})
#: Answers to a GET of one byte that say it is there; 416: it is there, and empty.
_THERE = frozenset({200, 206, 416})
#: A registry whose tag list never ends is broken: 1,000 tags a page, so this is ten million.
_MAX_PAGES = 10_000


class OciRegistry:
    """One registry. Thread-safe. ``https`` unless ``plain_http``, or the registry is on this machine (as Docker).

    ``ca_file`` adds to this machine's authorities; ``prefix``: the fleet's, whose credentials are shown to the registry
    itself. Raises RegistryError for authorities that cannot be read.
    """

    def __init__(
        self,
        host: str,
        *,
        plain_http: bool = False,
        ca_file: str | Path | None = None,
        prefix: str = "",
        credentials: DockerCredentials | None = None,
        clock: Clock | None = None,
        retry: RetryPolicy | None = None,
        timeouts: Timeouts | None = None,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        self.host = host
        self._chunk_bytes = chunk_bytes
        self._http = RegistryHttp(
            host,
            _base_url(host, plain_http, ca_file),
            trusted=_trusted(ca_file),
            credentials=credentials or DockerCredentials.from_environment(),
            clock=clock or SystemClock(),
            retry=retry or RetryPolicy(),
            timeouts=timeouts or Timeouts(),
            root=prefix,
        )
        self._ask = RegistryCalls(host, self._http)
        self._heads = Heads()

    @property
    def requests_made(self) -> int:
        """HTTP requests sent so far, tokens and retries included."""
        return self._http.requests_made

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def ping(self) -> None:
        """Check that it answers as a registry and takes our credentials."""
        self._ask.send("GET", "/v2/", "login", ())

    # ── manifests ────────────────────────────────────────────────────────────────────────────────────────────────

    def head_manifest(self, repository: str, reference: str) -> str | None:
        """Return the digest behind a tag or digest, or None."""
        silent = False
        if self._heads.asked("manifests"):
            reply = self._ask.manifest("HEAD", repository, reference, {200, *_NO_WORD})
            digest = reply.headers.get("Docker-Content-Digest", "")
            silent = reply.status != 200
            if not silent:
                self._heads.found("manifests")
            if not silent and DIGEST.fullmatch(digest):  # the header is optional: without it only the bytes tell
                return digest
            if reply.status == 404 and self._heads.believed("manifests"):
                return None
        found = self.get_manifest(repository, reference)
        if found and silent:
            self._heads.contradicted("manifests")
        return found.digest if found else None

    def get_manifest(self, repository: str, reference: str) -> OciManifest | None:
        """Return the manifest behind a tag or digest, its bytes checked against every digest at hand, or None."""
        reply = self._ask.manifest("GET", repository, reference, {200, 404})
        if reply.status == 404:
            return None
        digest = _sha256(reply.body)
        promised = reference if reference.startswith("sha256:") else reply.headers.get("Docker-Content-Digest", digest)
        if promised != digest:
            raise DigestMismatch(self.host, f"manifest {repository}:{reference}", promised, digest)
        return OciManifest(digest, self._ask.media_type(repository, reference, reply), reply.body)

    def put_manifest(self, repository: str, reference: str, body: bytes, media_type: str) -> str:
        """Store a manifest under a tag or its digest; return its digest."""
        digest = _sha256(body)
        headers = {"Content-Type": media_type}
        reply = self._ask.manifest("PUT", repository, reference, {201, 200, 202, 204}, headers=headers, body=body)
        stored = reply.headers.get("Docker-Content-Digest", digest)
        if stored != digest:
            raise DigestMismatch(self.host, f"manifest {repository}:{reference}", digest, stored)
        return digest

    def delete_manifest(self, repository: str, digest: str) -> None:
        """Delete a manifest by digest; one that is gone already is fine."""
        self._ask.checked(digest)
        reply = self._ask.manifest("DELETE", repository, digest, {202, 200, 204, 404, 405})
        if reply.status == 405:
            raise RegistryError(
                f"{self.host}: manifest {repository}@{digest}: the registry does not allow deletes",
                hint="enable them: storage.delete.enabled in its configuration (REGISTRY_STORAGE_DELETE_ENABLED=true)",
            )

    def tags(self, repository: str) -> list[str]:
        """Return all tags, sorted; empty for a repository that does not exist."""
        tags: set[str] = set()
        what = f"tags of {repository}"
        path = f"/v2/{repository}/tags/list?n=1000"
        for page in range(_MAX_PAGES):
            # Some registries take fewer a page, and say 400: then they choose how many.
            reply = self._ask.send("GET", path, what, pull(repository), accept={200, 404} if page else {200, 400, 404})
            if reply.status == 400:
                reply = self._ask.send("GET", path.partition("?")[0], what, pull(repository), accept={200, 404})
            if reply.status == 404:
                return sorted(tags)
            listed = self._ask.parsed(reply, what).get("tags")
            tags.update(map(str, listed) if isinstance(listed, list) else ())
            link = _NEXT.search(reply.headers.get("Link", ""))
            if not link:
                return sorted(tags)
            path = self._http.absolute(link[1], reply.url, what)
        raise RegistryError(
            f"{self.host}: tags of {repository}: the list of tags does not end", hint="check the registry"
        )

    # ── blobs ────────────────────────────────────────────────────────────────────────────────────────────────────

    def has_blob(self, repository: str, digest: str) -> bool:
        """Say whether the repository has the blob."""
        path = f"/v2/{repository}/blobs/{self._ask.checked(digest)}"
        what = f"blob {digest[:19]}… of {repository}"
        if self._heads.asked("blobs"):
            reply = self._ask.send("HEAD", path, what, pull(repository), accept={200, *_NO_WORD})
            if reply.status == 200:
                self._heads.found("blobs")
                return True
            if reply.status == 404 and self._heads.believed("blobs"):
                return False
        url, one = self._http.base_url + path, {"Range": "bytes=0-0"}
        there = self._http.answers(Request("GET", url, what, pull(repository), one, accept=_THERE | {404})) in _THERE
        if there:
            self._heads.contradicted("blobs")
        return there

    def mount_blob(self, repository: str, digest: str, from_repository: str) -> bool:
        """Make a blob of another repository appear in this one without moving bytes. False when refused, however."""
        path = f"/v2/{repository}/blobs/uploads/?mount={self._ask.checked(digest)}&from={from_repository}"
        what = f"mount of {digest[:19]}… from {from_repository} into {repository}"
        scopes = (*push(repository), *pull(from_repository))
        try:
            reply = self._ask.send("POST", path, what, scopes, accept={201, 202}, tries=2)
            if reply.status == 202 and (location := reply.headers.get("Location")):
                # It began an upload instead: nobody will finish that one.
                self._drop_upload(self._http.absolute(location, reply.url, what), what, scopes)
        except RegistryError:
            return False  # the bytes are uploaded instead, and that says what is wrong when the registry is
        return reply.status == 201

    def check_push(self, repository: str) -> None:
        """Begin an upload and drop it. Raises RegistryError where nothing may be pushed."""
        what = f"trial upload to {repository}"
        reply = self._ask.send("POST", f"/v2/{repository}/blobs/uploads/", what, push(repository), accept={202})
        if location := reply.headers.get("Location"):
            self._drop_upload(self._http.absolute(location, reply.url, what), what, push(repository))

    def _drop_upload(self, url: str, what: str, scopes: Scopes) -> None:
        self._ask.send("DELETE", url, what, scopes, accept={202, 200, 204, 400, 403, 404, 405, 501})

    def push_blob(self, repository: str, source: BlobSource) -> None:
        """Upload a blob unless it is there."""
        if not self.has_blob(repository, source.digest):
            BlobUpload(self._http, repository, source, push(repository)).run(self._chunk_bytes)

    def read_blob(self, repository: str, digest: str) -> bytes:
        """Return a small blob (< 64 MiB), digest checked."""
        sink = io.BytesIO()
        self._download(repository, digest).run(sink, limit=_SMALL_BLOB)
        return sink.getvalue()

    def fetch_blob(self, repository: str, digest: str, to: Path, *, size: int | None = None) -> None:
        """Download a blob into a file: temporary name, size and digest checked, atomic rename."""
        download_to_file(self._download(repository, digest), to, size)

    # ── requests ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _download(self, repository: str, digest: str) -> BlobDownload:
        return BlobDownload(self._http, repository, self._ask.checked(digest), pull(repository))


def _base_url(host: str, plain_http: bool, ca_file: str | Path | None) -> str:
    name = "registry-1.docker.io" if host in ("docker.io", "index.docker.io") else host
    hostname = name.rpartition("]")[0].strip("[") or name.partition(":")[0]
    plain = plain_http or (is_loopback(hostname) and ca_file is None)
    return f"{'http' if plain else 'https'}://{name}"


def _trusted(ca_file: str | Path | None) -> ssl.SSLContext:
    try:
        return authorities(ca_file)
    except TrustError as error:
        hint = "set registry.ca_file in fleet.yaml, or the variable that is named, to a PEM file of certificates"
        raise RegistryError(str(error), hint=hint) from error


def _sha256(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"
