"""The words of the OCI image specification that publishing needs: media types, descriptors, manifests."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from fleet.errors import RegistryError
from fleet.ports import OciManifest, Registry
from runtime.contract.codec import canonical_json
from runtime.contract.json_decoder import decode_object

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
IMAGE_CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER_TAR = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"

#: No layer is larger: what a descriptor says is how much is read of a blob.
MAX_BLOB_BYTES = 1 << 40
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

#: Prefix of our annotations and labels.
NAMESPACE = "io.jetfleet"

#: Docker's schema 2 says the same with other names.
_FROM_DOCKER = {
    "application/vnd.docker.image.rootfs.diff.tar": LAYER_TAR,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": LAYER_GZIP,
    "application/vnd.docker.container.image.v1+json": IMAGE_CONFIG,
}


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A blob, as a manifest names it."""

    media_type: str
    digest: str
    size: int

    def to_json(self) -> dict[str, Any]:
        """Return the specification's form."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


@dataclass(frozen=True, slots=True)
class Bytes:
    """A small blob that is in memory. A `fleet.ports.BlobSource`."""

    content: bytes
    size: int
    digest: str

    @classmethod
    def of(cls, content: bytes) -> Bytes:
        """Take the content's digest."""
        return cls(content, len(content), sha256_of(content))

    def open(self) -> BinaryIO:
        """Open it from its start."""
        return io.BytesIO(self.content)


@dataclass(frozen=True, slots=True)
class ParsedManifest:
    """An image manifest (OCI or Docker schema 2), its media types in OCI's words."""

    digest: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str]


def sha256_of(content: bytes) -> str:
    """Return ``sha256:<hex>``."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def manifest_bytes(
    config: Descriptor,
    layers: Sequence[Descriptor],
    *,
    annotations: Mapping[str, str] | None = None,
    artifact_type: str | None = None,
    subject: Descriptor | None = None,
) -> bytes:
    """Return the one byte string of an OCI manifest with this content."""
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.to_json(),
        "layers": [layer.to_json() for layer in layers],
    }
    if artifact_type:
        document["artifactType"] = artifact_type
    if subject:
        document["subject"] = subject.to_json()
    if annotations:
        document["annotations"] = dict(annotations)
    return canonical_json(document)


def parse_manifest(manifest: OciManifest, where: str) -> ParsedManifest:
    """Read an image manifest. Raises RegistryError for an index or anything else."""
    try:
        document = decode_object(manifest.body, "the manifest")
        if manifest.media_type not in (MANIFEST, DOCKER_MANIFEST):
            raise ValueError(f"its media type is {manifest.media_type}")
        return ParsedManifest(
            manifest.digest,
            _descriptor(document["config"]),
            tuple(_descriptor(layer) for layer in document["layers"]),
            _texts(document.get("annotations")),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise RegistryError(
            f"{where}: not a usable image manifest: {error!s}",
            hint="something else was pushed there: delete the tag and publish again",
        ) from error


def _descriptor(document: Mapping[str, Any]) -> Descriptor:
    media_type, digest, size = str(document["mediaType"]), str(document["digest"]), int(document["size"])
    if _DIGEST.fullmatch(digest) is None or not 0 <= size <= MAX_BLOB_BYTES:
        raise ValueError(f"a blob of {size} bytes with the digest {digest[:80]!a}")
    return Descriptor(_FROM_DOCKER.get(media_type, media_type), digest, size)


def _texts(values: object) -> dict[str, str]:
    return {str(key): str(value) for key, value in values.items()} if isinstance(values, dict) else {}


def require_manifest(registry: Registry, repository: str, reference: str, *, lost: str) -> OciManifest:
    """Return a manifest that was there a moment ago. ``lost`` is what to do when it is not."""
    found = registry.get_manifest(repository, reference)
    if found is None:
        where = place(registry, repository, reference)
        raise RegistryError(f"{where}: the registry does not have it", hint=lost)
    return found


def place(registry: Registry, repository: str, reference: str) -> str:
    """Return a full reference, for messages."""
    return f"{registry.host}/{repository}{'@' if reference.startswith('sha256:') else ':'}{reference}"
