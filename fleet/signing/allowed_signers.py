"""Allowed signers: lines of a file, read as OpenSSH reads them (man ssh-keygen, ALLOWED SIGNERS)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fleet.signing.fingerprint import fingerprint

_LINE = re.compile(r"^(?P<who>\"[^\"]*\"|[^\s\"]+)\s+(?P<rest>.+)$")
_TYPE = re.compile(r"(?:ssh|ecdsa|sk)-[A-Za-z0-9@.-]+")


@dataclass(frozen=True)
class AllowedSigner:
    """One line of an allowed_signers file."""

    line: int
    principals: tuple[str, ...]
    options: str
    key: str
    """``ssh-ed25519 AAAA…``."""

    @property
    def is_authority(self) -> bool:
        """Whether the key signs certificates of people, instead of releases."""
        return bool(re.search(r"(^|,)cert-authority(,|$)", self.options, re.IGNORECASE))

    @property
    def fingerprint(self) -> str:
        """``SHA256:…``, as OpenSSH prints it."""
        return fingerprint(base64.b64decode(self.key.split()[1]))

    def may_sign(self, namespace: str) -> bool:
        """Whether the line's ``namespaces`` let it sign there; without any it may."""
        given = re.search(r'namespaces="([^"]*)"', self.options, re.IGNORECASE)
        if given is None:
            return True
        patterns = [re.escape(each.strip()).replace(r"\*", ".*").replace(r"\?", ".") for each in given[1].split(",")]
        return any(re.fullmatch(pattern, namespace) for pattern in patterns)


class SignerError(ValueError):
    """A line of an allowed_signers file is none."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def read_signers(text: str) -> Iterator[AllowedSigner]:
    """Yield the lines of an allowed_signers file. Raises SignerError."""
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            yield _signer(number, stripped)


def known_keys(path: Path, namespace: str, *, authorities: bool = False) -> tuple[str, ...] | None:
    """Return ``SHA256:…`` of the keys that a file allows there, authorities left out; None when it cannot be read.

    Only ever an order in which to look, or a reason to say no early: who may sign is what ssh-keygen says.
    ``authorities``: None too where the file has one, as then keys count that are not in it.
    """
    try:
        signers = list(read_signers(path.read_text(encoding="utf-8", errors="replace")))
    except (OSError, SignerError):
        return None
    allowed = [each for each in signers if each.may_sign(namespace)]
    if authorities and any(each.is_authority for each in allowed):
        return None
    return tuple(each.fingerprint for each in allowed if not each.is_authority)


def _signer(number: int, line: str) -> AllowedSigner:
    match = _LINE.fullmatch(line)
    if match is None:
        raise SignerError(number, "the line has a name and no key")
    words = _words(match["rest"])
    at = next((index for index, word in enumerate(words) if _TYPE.fullmatch(word)), None)
    if at is None or at > 1 or at + 1 >= len(words):
        raise SignerError(number, "the line has no public key")
    kind, blob = words[at], words[at + 1]
    if not _is_key(kind, blob):
        raise SignerError(number, f"{blob[:24]} is not a key of type {kind}")
    principals = tuple(match["who"].strip('"').split(","))
    return AllowedSigner(number, principals, words[0] if at else "", f"{kind} {blob}")


def _words(text: str) -> list[str]:
    """Split at spaces that are not in quotes."""
    return re.findall(r"(?:[^\s\"]|\"[^\"]*\")+", text)


def _is_key(kind: str, blob: str) -> bool:
    try:
        raw = base64.b64decode(blob, validate=True)
    except (binascii.Error, ValueError):
        return False
    return raw[4 : 4 + int.from_bytes(raw[:4], "big")].decode("ascii", "replace") == kind
