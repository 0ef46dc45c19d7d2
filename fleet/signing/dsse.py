"""DSSE envelopes (github.com/secure-systems-lab/dsse) with SSH signatures: what is signed says what kind it is.

The signature is made over the pre-authentication encoding of type and payload, so bytes that were signed as one kind of
document are never taken for another. A signature in the envelope is the armored text of ``ssh-keygen -Y sign``.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from runtime.contract.codec import canonical_json, from_json

#: Payload type of in-toto statements, and the media type of an envelope.
IN_TOTO = "application/vnd.in-toto+json"
ENVELOPE = "application/vnd.dsse.envelope.v1+json"


@dataclass(frozen=True)
class DsseSignature:
    """One signature of an envelope."""

    sig: str
    """Base64 of the armored SSH signature."""
    keyid: str = ""
    """``SHA256:…``: a hint, never believed."""


@dataclass(frozen=True)
class Envelope:
    """As the specification names its fields."""

    payload: str
    """Base64."""
    payloadType: str  # noqa: N815
    signatures: tuple[DsseSignature, ...]


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return what is signed: ``DSSEv1``, then type and payload, each after its length in bytes."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def sealed(payload: bytes, signature: str, key: str, payload_type: str = IN_TOTO) -> bytes:
    """Return an envelope with one armored signature over :func:`pae`."""
    text = base64.b64encode(payload).decode("ascii")
    signed = DsseSignature(base64.b64encode(signature.encode("utf-8")).decode("ascii"), key)
    return canonical_json(Envelope(text, payload_type, (signed,)))


def opened(envelope: bytes, payload_type: str = IN_TOTO) -> tuple[bytes, tuple[str, ...]]:
    """Return payload and armored signatures, none of them checked. Raises what a decoder raises at junk."""
    document = from_json(Envelope, envelope)
    if document.payloadType != payload_type:
        raise ValueError(f"it holds {document.payloadType[:60]!r}, not {payload_type}")
    signatures = tuple(_decoded(each.sig).decode("utf-8") for each in document.signatures)
    return _decoded(document.payload), signatures


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from error
