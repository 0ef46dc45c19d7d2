"""Who may sign: the files that ``trust`` names, read as OpenSSH reads them."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fleet.manifest.files import inside, why_no_file
from fleet.manifest.report import Report, SourceFile
from fleet.manifest.trust_schema import Trust
from runtime.contract.trust import NAMESPACES, RELEASE

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
    path = _file(trust.signers, "signers", root, source, report)
    if path is None:
        return
    try:
        signers = list(read_signers(path.read_text(encoding="utf-8", errors="replace")))
    except OSError as error:
        report.add(source, ("trust", "signers"), f"{path} cannot be read: {error.strerror}", "check its permissions")
        return
    except SignerError as error:
        report.add(str(path), (), str(error), _FORM, error.line)
        return
    _check_count(trust, [each for each in signers if each.may_sign(NAMESPACES[RELEASE])], path, source, report)


def _check_count(trust: Trust, signers: list[AllowedSigner], path: Path, source: SourceFile, report: Report) -> None:
    if not signers:
        hint = f'add a line: name@example.com namespaces="{NAMESPACES[RELEASE]},jetfleet.rollback" ssh-ed25519 AAAA…'
        report.add(source, ("trust", "signers"), f"{path} names nobody who may sign a release", hint)
        return
    if any(each.is_authority for each in signers):
        return  # as many people as it certifies
    people = {name for each in signers for name in each.principals}
    count = min(len(people), len({each.key for each in signers}))
    if count < trust.threshold:
        message = f"{trust.threshold} people must sign, {path} names {count}"
        report.add(source, ("trust", "threshold"), message, "add the others there, or lower the threshold")


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
