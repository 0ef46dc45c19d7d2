"""Host certificates (OpenSSH's PROTOCOL.certkeys): who signed one, for which names, until when."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import paramiko
from paramiko.pkey import UnknownKeyType

_HOST = 2
_CURVES = ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521")
_NUMBERS = {"ssh-rsa": 2, "ssh-ed25519": 1, **dict.fromkeys(_CURVES, 2)}
"""Kind of key → strings between the nonce and the serial number."""
CERTIFICATE = "-cert-v01@openssh.com"


@dataclass(frozen=True)
class Certificate:
    """What a certificate says. Nothing of it counts before `flaw` returned an empty sentence."""

    role: int
    principals: tuple[str, ...]
    valid_after: int
    valid_before: int
    critical: bytes
    authority: bytes
    """Public key of the signer, as it is sent."""
    signed: bytes
    signature: bytes

    def flaw(self, names: Sequence[str], now: float | None = None) -> str:
        """Return why this does not prove a host with any of ``names``; empty when it does."""
        at = time.time() if now is None else now
        if self.role != _HOST:
            return "it is not a host certificate"
        if self.critical:
            return "it has critical options, which a host certificate may not have"
        if not self.valid_after <= at < self.valid_before:
            ended = time.strftime("%Y-%m-%d %H:%M", time.gmtime(min(self.valid_before, 253402300799)))
            return "it is not valid yet" if at < self.valid_after else f"it was valid until {ended} UTC"
        if self.principals and not set(names) & set(self.principals):
            return f"it is for {', '.join(self.principals)}, not for {names[0]}"
        return "" if self._is_signed() else "its signature is wrong"

    def _is_signed(self) -> bool:
        kind = paramiko.Message(self.authority).get_text()
        algorithm = paramiko.Message(self.signature).get_text()
        if algorithm == "ssh-rsa":  # SHA-1: OpenSSH takes no such signature of an authority either.
            return False
        try:
            key = paramiko.PKey.from_type_string(kind, self.authority)
            return bool(key.verify_ssh_sig(self.signed, paramiko.Message(self.signature)))
        except (paramiko.SSHException, UnknownKeyType, ValueError):
            return False


def read_certificate(blob: bytes) -> Certificate | None:
    """Return the certificate that a server showed as its key; None for a plain key, or one that cannot be read."""
    message = paramiko.Message(blob)
    try:
        kind = message.get_text()
        plain = kind.removesuffix(CERTIFICATE)
        if plain == kind or plain not in _NUMBERS:
            return None
        for _ in range(1 + _NUMBERS[plain]):
            message.get_binary()
        message.get_int64()
        role = message.get_int()
        message.get_binary()
        principals = _strings(message.get_binary())
        after, before = message.get_int64(), message.get_int64()
        critical, _extensions, _reserved = (message.get_binary() for _ in range(3))
        authority = message.get_binary()
        signature = message.get_binary()
    except (IndexError, ValueError, UnicodeDecodeError):
        return None
    signed = blob[: len(blob) - len(signature) - 4]
    return Certificate(role, tuple(principals), after, before, critical, authority, signed, signature)


def _strings(packed: bytes) -> list[str]:
    found: list[str] = []
    while packed:
        size = int.from_bytes(packed[:4], "big")
        found.append(packed[4 : 4 + size].decode("utf-8", "replace"))
        packed = packed[4 + size :]
    return found
