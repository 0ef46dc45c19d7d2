"""Small JSON documents in the registry: an OCI artifact whose config blob is the document. For locks and audit."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar

from fleet.errors import RegistryError
from fleet.ports import Registry
from runtime.contract.codec import ContractError, canonical_json, from_json
from runtime.contract.json_decoder import WORDS
from runtime.contract.printable import printable

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Bytes:
    """A BlobSource in memory."""

    content: bytes

    @property
    def size(self) -> int:
        return len(self.content)

    @property
    def digest(self) -> str:
        return "sha256:" + hashlib.sha256(self.content).hexdigest()

    def open(self) -> BinaryIO:
        return io.BytesIO(self.content)


def put_record(registry: Registry, repository: str, tag: str, document: Any, media_type: str) -> str:
    """Store a contract-like dataclass under ``tag``; return the manifest's digest. Raises RegistryError."""
    blob = _Bytes(canonical_json(document))
    registry.push_blob(repository, blob)
    config = {"mediaType": media_type, "digest": blob.digest, "size": blob.size}
    body = canonical_json({"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": []})
    return registry.put_manifest(repository, tag, body, MANIFEST_TYPE)


def get_record(registry: Registry, repository: str, tag: str, document: type[T]) -> tuple[T, str] | None:
    """Return the document under ``tag`` and its manifest's digest, or None. Raises RegistryError."""
    manifest = registry.get_manifest(repository, tag)
    if manifest is None:
        return None
    try:
        config = from_json(_Manifest, manifest.body).config
        return from_json(document, registry.read_blob(repository, config.digest), WORDS, printable), manifest.digest
    except ContractError as error:
        raise RegistryError(
            f"{registry.host}/{repository}:{tag} is not what fleet wrote there: {error}",
            hint="update fleet; or delete this tag when something else wrote it",
        ) from error


@dataclass(frozen=True)
class _Descriptor:
    digest: str


@dataclass(frozen=True)
class _Manifest:
    config: _Descriptor
