"""Who may sign: the files that ``trust`` names, read as OpenSSH reads them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fleet.manifest.files.named_files import inside, why_no_file
from fleet.manifest.schema.trust_schema import Trust
from fleet.manifest.yaml.report import Report, SourceFile
from fleet.signing.provenance import PROVENANCE
from runtime.contract.robot.trust import NAMESPACES, RELEASE, SignatureFacts, distinct_signers

_LINE = re.compile(r"^(?P<who>\"[^\"]*\"|[^\s\"]+)\s+(?P<rest>.+)$")
_TYPE = re.compile(r"(?:ssh|ecdsa|sk)-[A-Za-z0-9@.-]+")
_FORM = "write: name@example.com ssh-ed25519 AAAA… (man ssh-keygen, ALLOWED SIGNERS)"


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
        digest = hashlib.sha256(base64.b64decode(self.key.split()[1])).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")

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
        raise SignerError(number, f"{blob[:24]} is no key of type {kind}")
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


def check_trust(trust: Trust, root: Path, source: SourceFile, report: Report) -> None:
    """Note what is wrong with the files that ``trust`` names, and with what it asks of them."""
    if trust.unsigned:
        return
    if trust.revoked is not None:
        _file(trust.revoked, "revoked", root, source, report)
    signers = _read(trust.signers, "signers", root, source, report)
    if signers is not None:
        path, lines = signers
        _check_count(trust, [each for each in lines if each.may_sign(NAMESPACES[RELEASE])], path, source, report)
    builders = None if trust.builders is None else _read(trust.builders, "builders", root, source, report)
    if builders is not None and not any(each.may_sign(PROVENANCE) for each in builders[1]):
        hint = f'add a line: name@example.com namespaces="{PROVENANCE}" ssh-ed25519 AAAA…'
        report.add(source, ("trust", "builders"), f"{builders[0]} names nobody who may attest builds", hint)


def _read(
    name: str, key: str, root: Path, source: SourceFile, report: Report
) -> tuple[Path, list[AllowedSigner]] | None:
    path = _file(name, key, root, source, report)
    if path is None:
        return None
    try:
        return path, list(read_signers(path.read_text(encoding="utf-8", errors="replace")))
    except OSError as error:
        report.add(source, ("trust", key), f"{path} cannot be read: {error.strerror}", "check its permissions")
    except SignerError as error:
        report.add(str(path), (), str(error), _FORM, error.line)
    return None


def _check_count(trust: Trust, signers: list[AllowedSigner], path: Path, source: SourceFile, report: Report) -> None:
    if not signers:
        hint = f'add a line: name@example.com namespaces="{NAMESPACES[RELEASE]},jetfleet.rollback" ssh-ed25519 AAAA…'
        report.add(source, ("trust", "signers"), f"{path} names nobody who may sign a release", hint)
        return
    count = len(distinct_signers([_fact(each) for each in signers]))
    if count < trust.threshold:
        once = "; a certificate authority counts once" if any(each.is_authority for each in signers) else ""
        message = f"{trust.threshold} people must sign, {path} names {count} with keys of their own{once}"
        report.add(source, ("trust", "threshold"), message, "add the others there, or lower the threshold")


def _fact(signer: AllowedSigner) -> SignatureFacts:
    """Return the signature that this line can make count. An authority makes one, for somebody of its choice."""
    people = (f"whom {signer.key} vouches for",) if signer.is_authority else signer.principals
    return SignatureFacts(signer.key, people)


def _file(name: str, key: str, root: Path, source: SourceFile, report: Report) -> Path | None:
    path = inside(root, root, name)
    if path is None:
        hint = "move the file below the folder of fleet.yaml: who may sign is reviewed there"
        report.add(source, ("trust", key), f"{name} is outside of the manifest's folder", hint)
    elif why := why_no_file(path):
        hint = "name a file, relative to fleet.yaml; `fleet docs manifest` shows what is in it"
        report.add(source, ("trust", key), f"{path} {why}", hint)
        return None
    return path
