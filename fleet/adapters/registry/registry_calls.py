"""Requests in the words of a registry: repositories, manifests, digests, scopes."""

from __future__ import annotations

import re

from fleet.adapters.registry.registry_auth import Scopes
from fleet.adapters.registry.registry_http import RegistryHttp, Reply, Request
from fleet.errors import RegistryError
from runtime.contract.json_decoder import ContractError, decode_object

MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def pull(repository: str) -> Scopes:
    """Return what a token must allow to read a repository."""
    return (f"repository:{repository}:pull",)


def push(repository: str, *, delete: bool = False) -> Scopes:
    """Return what a token must allow to write to a repository, or to delete there."""
    return (f"repository:{repository}:{'delete' if delete else 'pull,push'}",)


class RegistryCalls:
    """One registry. Thread-safe."""

    def __init__(self, host: str, http: RegistryHttp) -> None:
        self.host = host
        self.http = http

    def manifest(
        self,
        method: str,
        repository: str,
        reference: str,
        accept: set[int],
        *,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
    ) -> Reply:
        """Ask about, or put, one manifest; statuses of ``accept`` are handed back. Raises RegistryError."""
        at = "@" if reference.startswith("sha256:") else ":"
        scopes = pull(repository) if method in ("GET", "HEAD") else push(repository, delete=method == "DELETE")
        return self.send(
            method,
            f"/v2/{repository}/manifests/{reference}",
            f"manifest {repository}{at}{reference}",
            scopes,
            accept=accept,
            headers={"Accept": ", ".join(MANIFEST_TYPES), **(headers or {})},
            body=body,
        )

    def send(
        self,
        method: str,
        path: str,
        what: str,
        scopes: Scopes,
        *,
        accept: set[int] | None = None,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        tries: int | None = None,
    ) -> Reply:
        """Send one request; ``path`` below the registry, or a whole URL. Raises RegistryError."""
        url = path if "://" in path else self.http.base_url + path
        request = Request(method, url, what, scopes, headers or {}, body, frozenset(accept or {200}))
        return self.http.send(request, tries=tries)

    def media_type(self, repository: str, reference: str, reply: Reply) -> str:
        """Return a manifest's type: the header's, or what it says of itself."""
        sent = reply.headers.get("Content-Type", "").partition(";")[0].strip()
        if sent in MANIFEST_TYPES:
            return sent
        return str(self.parsed(reply, f"manifest {repository}:{reference}").get("mediaType") or sent)

    def parsed(self, reply: Reply, what: str) -> dict[str, object]:
        """Return an answer's JSON object. Raises RegistryError."""
        try:
            return decode_object(reply.body, "the answer")
        except ContractError as error:
            raise RegistryError(
                f"{self.host}: {what}: the answer is not a JSON document that can be read: {error}",
                hint="check that registry.address is an OCI registry, not a web server or a login page",
            ) from error

    def checked(self, digest: str) -> str:
        """Return a digest. Raises RegistryError for what is none."""
        if DIGEST.fullmatch(digest):
            return digest
        raise RegistryError(f"{self.host}: {digest!r} is not a sha256 digest", hint="write sha256: and 64 hex digits")
