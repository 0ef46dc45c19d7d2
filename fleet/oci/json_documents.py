"""Small JSON documents in the registry: an OCI artifact whose config blob is the document. For locks and audit."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar

from fleet.errors import RegistryError
from fleet.oci.skim import bounded, said
from fleet.ports import Registry
from runtime.contract.codec import SCHEMA, canonical_json, from_json
from runtime.contract.json_decoder import WORDS, decode
from runtime.contract.printable import printable

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"

T = TypeVar("T")


class NewerRecord(RegistryError):
    """A record that a newer fleet wrote: it means something that this one does not understand."""


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
    """Return the document under ``tag`` and its manifest's digest, or None. Raises RegistryError, NewerRecord."""
    manifest = registry.get_manifest(repository, tag)
    if manifest is None:
        return None
    where, hint = f"{registry.host}/{repository}:{tag}", "update fleet; or delete this tag when something else wrote it"
    try:
        config = from_json(_Manifest, manifest.body).config
        bounded(config.size, "the record")
        content = registry.read_blob(repository, config.digest)
        if _schema(content) > SCHEMA:
            raise NewerRecord(f"{where} was written by a newer fleet", hint=hint)
        return from_json(document, content, WORDS, printable), manifest.digest
    except (ValueError, RecursionError, OverflowError) as error:
        raise RegistryError(f"{where} is not what fleet wrote there: {said(error)}", hint=hint) from error


def _schema(content: bytes) -> int:
    document = decode(content, "the record", WORDS, clean=printable)
    schema = document.get("schema") if isinstance(document, dict) else None
    return schema if isinstance(schema, int) else 0


@dataclass(frozen=True)
class _Descriptor:
    digest: str
    size: int = 0


@dataclass(frozen=True)
class _Manifest:
    config: _Descriptor
