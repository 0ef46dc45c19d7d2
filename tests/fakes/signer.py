"""A signer in memory: `fleet.ports.Signer` with keys that are names, and signatures that say who made them."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from fleet.errors import SigningError, UsageError
from fleet.signing.allowed_signers import read_signers
from runtime.contract.codec import digest_of
from runtime.contract.robot.trust import SignatureFacts


def fingerprint_of(name: str) -> str:
    """Return what OpenSSH would print for the key called ``name``."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(name.encode()).digest()).decode().rstrip("=")


class FakeSigner:
    """Signs with the key whose file is called like a person; believes allowed_signers line by line: ``name name``."""

    def __init__(self) -> None:
        self.broken: str = ""
        """Why no key signs."""
        self.signed: list[str] = []

    def fingerprint(self, key: Path) -> str:
        if not key.exists():
            raise UsageError(f"the key {key} does not exist", hint="check the path")
        public = key.with_name(f"{key.name}.pub")
        if public.exists():  # a real key, whose line in allowed_signers is read as one
            return next(read_signers(f"{key.name} {public.read_text()}")).fingerprint
        return fingerprint_of(key.name)

    def sign(self, statement: bytes, namespace: str, key: Path) -> str:
        if self.broken:
            raise SigningError(f"{key} did not sign: {self.broken}", hint="see ssh-add -l")
        self.signed.append(key.name)
        return f"{key.name} {digest_of([namespace, statement.decode()])}"

    def check(
        self, statement: bytes, signature: str, namespace: str, *, allowed: Path, revoked: Path | None
    ) -> SignatureFacts:
        name = signature.partition(" ")[0]
        if signature != f"{name} {digest_of([namespace, statement.decode()])}":
            return SignatureFacts(problem=f"a signature does not belong to this statement as {namespace}: no match")
        key = fingerprint_of(name)
        people = [line.split()[0] for line in allowed.read_text().splitlines() if line.endswith(f" {name}")]
        if not people:
            return SignatureFacts(key, problem=f"{key} is not an allowed signer")
        if revoked is not None and name in revoked.read_text().split():
            return SignatureFacts(key, (), True, f"{key} of {', '.join(people)} is revoked")
        return SignatureFacts(key, tuple(people))
