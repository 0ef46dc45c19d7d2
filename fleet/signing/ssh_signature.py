"""SSH signatures judged in this process: a hub that takes many reports starts no ``ssh-keygen`` for each.

Source: OpenSSH, PROTOCOL.sshsig (format and what is signed); RFC 8709 (ed25519), RFC 5656 (ECDSA), RFC 8332 (RSA with
SHA-2). Keys of hosts only: neither certificates nor keys in tokens sign reports.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from fleet.signing.fingerprint import fingerprint

MAGIC = b"SSHSIG"
_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
MOST_BYTES = 16 * 1024
#: Of a public key's text; RSA with 16384 bits has 2.8 kB.
MOST_KEY = 4096
LEAST_RSA_BITS = 2048
_HASHES = {"sha256": hashlib.sha256, "sha512": hashlib.sha512}
_RSA: dict[str, hashes.HashAlgorithm] = {"rsa-sha2-256": hashes.SHA256(), "rsa-sha2-512": hashes.SHA512()}
_CURVES: dict[str, hashes.HashAlgorithm] = {
    "ecdsa-sha2-nistp256": hashes.SHA256(),
    "ecdsa-sha2-nistp384": hashes.SHA384(),
    "ecdsa-sha2-nistp521": hashes.SHA512(),
}
KINDS = ("ssh-ed25519", *_CURVES, "ssh-rsa")
"""Types of host keys that sign reports."""


class BadSignature(ValueError):
    """It is no signature of this key over these bytes. The message says why."""


@dataclass(frozen=True, slots=True)
class HostKey:
    """A public SSH key of a host."""

    kind: str
    blob: bytes

    @property
    def text(self) -> str:
        """``ssh-ed25519 AAAA…``, without comment."""
        return f"{self.kind} {base64.b64encode(self.blob).decode()}"

    @property
    def fingerprint(self) -> str:
        """``SHA256:…``, as OpenSSH prints it."""
        return fingerprint(self.blob)


def read_key(text: str) -> HostKey:
    """Return a public key from ``type base64[ comment]``. Raises BadSignature."""
    words = text.split() if len(text) <= MOST_KEY else []
    if len(words) < 2 or words[0] not in KINDS:
        raise BadSignature(f"{text[:40]!r} is no host key: {', '.join(KINDS)} are")
    try:
        blob = base64.b64decode(words[1], validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadSignature(f"the key {text[:40]!r} is not base64") from error
    if _Reader(blob).text() != words[0]:
        raise BadSignature(f"the key {text[:40]!r} is not of the type that it names")
    return HostKey(words[0], blob)


def verify(message: bytes, armored: str, namespace: str, key: HostKey) -> None:
    """Check an armored SSH signature. Raises BadSignature unless this key made it over these bytes, in this namespace.

    The key inside the signature has to be ``key``: whom it belongs to is for the caller to know.
    """
    reader = _Reader(_unarmor(armored))
    if reader.take(len(MAGIC)) != MAGIC or reader.number() != 1:
        raise BadSignature("it is no SSH signature of version 1")
    blob, found = reader.string(), reader.text()
    reserved, hash_name = reader.string(), reader.text()
    signature = _Reader(reader.string())
    reader.end()
    if blob != key.blob:
        raise BadSignature("another key made it")
    if found != namespace:
        raise BadSignature(f"it is of namespace {found[:40]!r}, expected is {namespace!r}")
    if hash_name not in _HASHES:
        raise BadSignature(f"its hash {hash_name[:40]!r} is not known")
    digest = _HASHES[hash_name](message).digest()
    signed = MAGIC + b"".join(map(_string, (namespace.encode(), reserved, hash_name.encode(), digest)))
    kind, raw = signature.text(), signature.string()
    signature.end()
    _check(key, kind, raw, signed)


def _check(key: HostKey, kind: str, raw: bytes, signed: bytes) -> None:
    try:
        public = load_ssh_public_key(key.text.encode())
        if isinstance(public, Ed25519PublicKey) and kind == "ssh-ed25519":
            public.verify(raw, signed)
        elif isinstance(public, ec.EllipticCurvePublicKey) and kind == key.kind:
            public.verify(_ecdsa(raw), signed, ec.ECDSA(_CURVES[kind]))
        elif isinstance(public, RSAPublicKey) and kind in _RSA:
            if public.key_size < LEAST_RSA_BITS:
                raise BadSignature(f"its RSA key has {public.key_size} bits, {LEAST_RSA_BITS} are needed")
            public.verify(raw, signed, padding.PKCS1v15(), _RSA[kind])
        else:
            raise BadSignature(f"a signature of type {kind[:40]!r} is not one of a key of type {key.kind}")
    except InvalidSignature as error:
        raise BadSignature("it does not fit what was signed") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise error if isinstance(error, BadSignature) else BadSignature(f"its key cannot be used: {error}") from error


def _ecdsa(raw: bytes) -> bytes:
    """Return two SSH numbers as the DER that the library takes."""
    reader = _Reader(raw)
    r, s = (int.from_bytes(reader.string(), "big", signed=True) for _ in range(2))
    reader.end()
    if r <= 0 or s <= 0:
        raise BadSignature("its numbers are not positive")
    return encode_dss_signature(r, s)


def _unarmor(armored: str) -> bytes:
    lines = armored.split() if len(armored) <= MOST_BYTES else []
    text = " ".join(lines)
    if not (text.startswith(_BEGIN) and text.endswith(_END)):
        raise BadSignature("it is no armored SSH signature")
    try:
        return base64.b64decode(text[len(_BEGIN) : -len(_END)].replace(" ", ""), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadSignature("it is no armored SSH signature: not base64") from error


def armor(blob: bytes) -> str:
    """Return a signature as ``ssh-keygen`` writes it."""
    text = base64.b64encode(blob).decode()
    return "\n".join([_BEGIN, *(text[at : at + 70] for at in range(0, len(text), 70)), _END, ""])


def _string(content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + content


class _Reader:
    """Reads SSH's strings and numbers; every read is within what is there. Raises BadSignature."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def take(self, count: int) -> bytes:
        part = self._content[self._at : self._at + count]
        if len(part) != count:
            raise BadSignature("it is cut off")
        self._at += count
        return part

    def number(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        return self.take(self.number())

    def text(self) -> str:
        try:
            return self.string().decode("ascii")
        except UnicodeDecodeError as error:
            raise BadSignature("it has a name that is not ASCII") from error

    def end(self) -> None:
        if self._at != len(self._content):
            raise BadSignature("there is something after its end")
