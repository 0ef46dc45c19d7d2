"""Who may sign: the files that ``trust`` names, and whether they hold enough keys."""

from __future__ import annotations

from pathlib import Path

from fleet.manifest.files.named_files import inside, why_no_file
from fleet.manifest.schema.trust_schema import Trust
from fleet.manifest.yaml.report import Report, SourceFile
from fleet.signing.allowed_signers import AllowedSigner, SignerError, read_signers
from fleet.signing.provenance import PROVENANCE
from runtime.contract.robot.trust import NAMESPACES, NEWEST, RELEASE, SignatureFacts, distinct_signers

_FORM = "write: name@example.com ssh-ed25519 AAAA… (man ssh-keygen, ALLOWED SIGNERS)"


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
        report.add(source, ("trust", "builders"), f"{builders[0]} names no builder (nobody may attest builds)", hint)
    advance = None if trust.advance is None else _read(trust.advance, "advance", root, source, report)
    if advance is not None and not any(each.may_sign(NAMESPACES[NEWEST]) for each in advance[1]):
        hint = f'add a line: name@example.com namespaces="{NAMESPACES[NEWEST]}" ssh-ed25519 AAAA…'
        report.add(source, ("trust", "advance"), f"{advance[0]} names no key for the newest release", hint)


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
        hint = 'add a line: name@example.com namespaces="jetfleet.*" ssh-ed25519 AAAA…'
        report.add(source, ("trust", "signers"), f"{path} names no signer (nobody may sign a release)", hint)
        return
    count = len(distinct_signers([_fact(each) for each in signers]))
    if count < trust.threshold:
        once = "; a certificate authority counts once" if any(each.is_authority for each in signers) else ""
        message = f"{trust.threshold} signers are needed, {path} names {count} different ones{once}"
        report.add(source, ("trust", "threshold"), message, "add signers there, or lower the threshold")


def _fact(signer: AllowedSigner) -> SignatureFacts:
    """Return the signature that this line can make count. An authority makes one, for somebody of its choice."""
    people = (f"whom {signer.key} certifies",) if signer.is_authority else signer.principals
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
