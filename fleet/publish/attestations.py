"""Attestations in the registry: one artifact for each builder key next to what it built, under a tag of its own.

The tag is ``att-<64 hex of the artifact's manifest>-<12 hex of the key>``; the manifest also names its subject, so that
registries with the referrers API list it. Nothing here is believed: `fleet.publish.builders` judges it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from fleet.oci.image_spec import EMPTY, MANIFEST, NAMESPACE, Bytes, Descriptor, manifest_bytes, parse_manifest, place
from fleet.oci.skim import bounded, chosen, skim
from fleet.ports import Registry
from fleet.signing.dsse import ENVELOPE, opened
from fleet.signing.signatures import key_hex

_EMPTY = Bytes.of(b"{}")
#: Of an envelope; ours have about 3 KiB.
MOST_BYTES = 256 << 10
#: Attestations of one artifact that are read: one for each builder key.
MOST = 16


@dataclass(frozen=True, slots=True)
class StoredAttestation:
    """One attestation as the registry holds it, not judged yet."""

    tag: str
    payload: bytes
    signatures: tuple[str, ...]


def attestation_tag(subject: str, key: str) -> str:
    """Return the tag of what one key attests about an artifact. ``subject``: its manifest's digest."""
    return f"{_prefix(subject)}{key_hex(key)[:12]}"


def _prefix(subject: str) -> str:
    return f"att-{subject.removeprefix('sha256:')}-"


def push_attestation(registry: Registry, repository: str, subject: Descriptor, envelope: bytes, key: str) -> str:
    """Store what one builder attests in the place of its earlier words; return the tag. Raises RegistryError."""
    blob = Bytes.of(envelope)
    body = manifest_bytes(
        Descriptor(EMPTY, _EMPTY.digest, _EMPTY.size),
        [Descriptor(ENVELOPE, blob.digest, blob.size)],
        annotations={f"{NAMESPACE}.key": key},
        artifact_type=ENVELOPE,
        subject=subject,
    )
    registry.push_blob(repository, _EMPTY)
    registry.push_blob(repository, blob)
    tag = attestation_tag(subject.digest, key)
    registry.put_manifest(repository, tag, body, MANIFEST)
    return tag


def stored_attestations(
    registry: Registry, repository: str, tags: Sequence[str], subject: str, first: Collection[str] = ()
) -> tuple[list[StoredAttestation], list[str]]:
    """Return the attestations of an artifact out of the repository's ``tags``, and a sentence for each that is junk.

    ``first``: fingerprints of keys that are looked at before others. Raises RegistryError.
    """
    start = _prefix(subject)
    ends = [key_hex(key)[:12] for key in first]
    asked, left_out = chosen([tag for tag in tags if tag.startswith(start)], ends, MOST)
    found, junk = skim(registry, repository, asked, lambda tag: _load(registry, repository, tag))
    return found, [*junk, *left_out]


def _load(registry: Registry, repository: str, tag: str) -> StoredAttestation | None:
    manifest = registry.get_manifest(repository, tag)
    if manifest is None:
        return None
    parsed = parse_manifest(manifest, place(registry, repository, tag))
    if [layer.media_type for layer in parsed.layers] != [ENVELOPE]:
        raise ValueError("something else was pushed there")
    bounded(parsed.layers[0].size, "the attestation", MOST_BYTES)
    payload, signatures = opened(registry.read_blob(repository, parsed.layers[0].digest))
    if len(signatures) != 1:
        raise ValueError(f"{len(signatures)} signatures in one envelope")
    return StoredAttestation(tag, payload, signatures)
