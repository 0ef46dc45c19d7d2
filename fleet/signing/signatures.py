"""Signatures in the registry: what is signed, and one artifact for each signer next to the release.

A statement is signed by everybody in the same words, so the second signer signs what the first one wrote. Whoever can
write to the registry can put anything there: nothing here is believed before `fleet.signing.keyring` has judged it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from fleet.oci.image_spec import EMPTY, MANIFEST, NAMESPACE, Bytes, Descriptor, manifest_bytes, parse_manifest, place
from fleet.oci.releases import PublishedRelease, releases_of
from fleet.oci.skim import bounded, chosen, skim
from fleet.ports import Registry
from runtime.contract.codec import canonical_json, from_json
from runtime.contract.robot.trust import (
    EVERY_ROBOT,
    MOST_ROLLBACK_S,
    RELEASE,
    ROLLBACK,
    Signed,
    Statement,
    document_digest,
)

SIGNATURE_TYPE = "application/vnd.jetfleet.signature.v1+json"
ROLLBACK_S = MOST_ROLLBACK_S
"""A rollback order is for what happens now."""
_PREFIX = {RELEASE: "sig", ROLLBACK: "rollback"}
_EMPTY = Bytes.of(b"{}")


@dataclass(frozen=True, slots=True)
class StoredSignature:
    """One signature as the registry holds it, not judged yet."""

    tag: str
    text: str
    """The statement, as it was signed."""
    statement: Statement
    signature: str


def release_statement(release: PublishedRelease, now: float, lasts_s: float) -> Statement:
    """Return what is signed for a release. ``now``: Unix seconds; ``lasts_s``: robots take it for so long."""
    return _statement(RELEASE, release, now, lasts_s)


def rollback_statement(release: PublishedRelease, now: float, robots: Iterable[str], reason: str) -> Statement:
    """Return what is signed to go back to a release. ``robots``: names; none means all of the fleet."""
    names = tuple(sorted(robots)) or (EVERY_ROBOT,)
    return _statement(ROLLBACK, release, now, ROLLBACK_S, names, reason)


def _statement(
    kind: str,
    release: PublishedRelease,
    now: float,
    lasts_s: float,
    robots: tuple[str, ...] = (),
    reason: str = "",
) -> Statement:
    issued = float(int(now))
    document = document_digest(release.text)
    fleet, version = release.document.fleet, release.version
    return Statement(kind, fleet, version, document, issued, issued + lasts_s, robots, reason)


def signature_tag(kind: str, document: str, key: str) -> str:
    """Return the tag of one signer's signature: ``sig-<12 hex of the document>-<12 hex of the key>``.

    ``key``: ``SHA256:…``, as OpenSSH prints it.
    """
    return f"{_tag_prefix(kind, document)}{key_hex(key)[:12]}"


def _tag_prefix(kind: str, document: str) -> str:
    return f"{_PREFIX[kind]}-{document.removeprefix('sha256:')[:12]}-"


def key_hex(key: str) -> str:
    """Return a fingerprint (``SHA256:…``, as OpenSSH prints it) in hex. Raises ValueError."""
    text = key.removeprefix("SHA256:")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True).hex()
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"{key!r} is not the fingerprint of a key") from error


def push_signature(registry: Registry, prefix: str, text: str, signature: str, key: str) -> str:
    """Store one signer's signature in the place of their earlier one; return its tag. Raises RegistryError."""
    statement = from_json(Statement, text)
    repository = releases_of(prefix)
    blob = Bytes.of(canonical_json(Signed(text, (signature,))))
    body = manifest_bytes(
        Descriptor(EMPTY, _EMPTY.digest, _EMPTY.size),
        [Descriptor(SIGNATURE_TYPE, blob.digest, blob.size)],
        annotations={f"{NAMESPACE}.document": statement.document, f"{NAMESPACE}.key": key},
        artifact_type=SIGNATURE_TYPE,
    )
    registry.push_blob(repository, _EMPTY)
    registry.push_blob(repository, blob)
    tag = signature_tag(statement.kind, statement.document, key)
    registry.put_manifest(repository, tag, body, MANIFEST)
    return tag


def stored_signatures(
    registry: Registry, prefix: str, release: PublishedRelease, kind: str, first: Collection[str] = ()
) -> tuple[list[StoredSignature], list[str]]:
    """Return the signatures of a release, and a sentence for each that cannot be read or is one too many.

    ``first``: fingerprints (``SHA256:…``) of keys whose signatures are looked at before others'. Raises RegistryError.
    """
    repository, document = releases_of(prefix), document_digest(release.text)
    wanted = _tag_prefix(kind, document)
    ends = [key_hex(key)[:12] for key in first]
    tags, left_out = chosen([tag for tag in registry.tags(repository) if tag.startswith(wanted)], ends)
    loaded, damaged = skim(registry, repository, tags, lambda tag: _load(registry, repository, tag))
    found = [each for each in loaded if each.statement.kind == kind and each.statement.document == document]
    return found, [*damaged, *left_out]


def _load(registry: Registry, repository: str, tag: str) -> StoredSignature | None:
    """Read one signature. Raises ValueError (and what decoders raise at junk), RegistryError."""
    manifest = registry.get_manifest(repository, tag)
    if manifest is None:
        return None
    parsed = parse_manifest(manifest, place(registry, repository, tag))
    if [layer.media_type for layer in parsed.layers] != [SIGNATURE_TYPE]:
        raise ValueError("something else was pushed there")
    bounded(parsed.layers[0].size, "the signature")
    signed = from_json(Signed, registry.read_blob(repository, parsed.layers[0].digest))
    if len(signed.signatures) != 1:
        raise ValueError(f"{len(signed.signatures)} signatures in one artifact")
    return StoredSignature(tag, signed.statement, from_json(Statement, signed.statement), signed.signatures[0])
