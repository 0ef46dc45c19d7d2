"""What the manifest's trust comes to as a root, which roots count, and who still has to sign. Reads files alone."""

from __future__ import annotations

import base64
import dataclasses
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fleet.errors import NotSigned, UsageError
from fleet.ports import Signer
from fleet.signing.intent import why_beyond
from fleet.signing.root_store import UPDATER as UPDATER_STEM
from fleet.signing.root_store import RootStore
from fleet.signing.trust_spec import TrustSpec
from runtime.contract.codec import ContractError, canonical_json, digest_of_bytes, from_json
from runtime.contract.robot.root import HeldRoot, TrustRoot
from runtime.contract.robot.root_chain import Judge, RootRefused, first_root, next_root
from runtime.contract.robot.trust import NAMESPACES, ROOT, UPDATER, SignatureFacts, Signed, Statement, why_too_few

MOST_BYTES = 256 * 1024
SIGN = "fleet keys root --sign"


def root_of(fleet: str, trust: TrustSpec, version: int) -> TrustRoot:
    """Return the root that the manifest's trust is. Raises UsageError for a file that cannot be read."""
    if trust.unsigned:
        return TrustRoot(fleet, version, unsigned=True)
    signers, builders, advance = (
        "" if path is None else _read(path).decode("utf-8", "replace")
        for path in (trust.signers, trust.builders, trust.advance)
    )
    revoked = b"" if trust.revoked is None else _read(trust.revoked)
    if len(signers) + len(builders) + len(advance) + len(revoked) > MOST_BYTES:
        raise UsageError(
            f"the lists of keys are more than {MOST_BYTES >> 10} KiB together",
            hint="use a certificate authority (cert-authority) for the signers, and a KRL for revoked keys",
        )
    encoded = base64.b64encode(revoked).decode("ascii")
    return TrustRoot(
        fleet,
        version,
        signers,
        trust.threshold,
        encoded,
        builders,
        advance,
        max_newest_s=trust.newest_s,
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror or error}", hint="correct trust in fleet.yaml"
        ) from error


def judge_with(signer: Signer) -> Judge:
    """Return what judges signatures by the keys of a root, with the operator's ``ssh-keygen``."""

    def judge(root: TrustRoot, statement: str, signature: str, namespace: str) -> SignatureFacts:
        with tempfile.TemporaryDirectory(prefix="jetfleet-root-") as name:
            allowed, revoked = Path(name) / "allowed_signers", Path(name) / "revoked"
            allowed.write_text(root.allowed(namespace), encoding="utf-8")
            revoked.write_bytes(root.revoked_keys)
            given = revoked if root.revoked else None
            return signer.check(statement.encode(), signature, namespace, allowed=allowed, revoked=given)

    return judge


@dataclass(frozen=True, slots=True)
class RootStanding:
    """Which root of a manifest counts, and what lies between it and the manifest."""

    chain: tuple[Signed, ...]
    """Every root that counts, oldest first."""
    held: HeldRoot | None
    """The last of them."""
    wanted: TrustRoot
    """What the manifest's trust is, with the number that it has, or is to get."""
    pending: Signed | None
    """The next root as far as it is signed; None when nobody has written one, or when it says something else."""
    missing: str
    """What the next one lacks; empty when the manifest's trust is the root that counts."""

    @property
    def differs(self) -> bool:
        """Whether the manifest's trust is not (yet) a root that counts."""
        return bool(self.missing)


def standing(fleet: str, trust: TrustSpec, store: RootStore, judge: Judge) -> RootStanding:
    """Judge the roots of a manifest. Raises UsageError, NotSigned for a chain that is broken.

    An unsigned fleet that never had a root has one that nobody signs, of number 0.
    """
    held, chain, left = _follow(store, fleet, judge)
    number = 0 if held is None else held.root.version
    if held is None and trust.unsigned:
        root = root_of(fleet, trust, 0)
        signed = Signed(root.text)
        return RootStanding((signed,), HeldRoot(root, signed), root, None, "")
    wanted = root_of(fleet, trust, number)
    if held is not None and held.root == wanted:
        return RootStanding(tuple(chain), held, wanted, None, "")
    wanted = dataclasses.replace(wanted, version=number + 1)
    pending = left if left is not None and left.statement == wanted.text else None
    missing = _lacks(held, wanted, pending, judge)
    return RootStanding(tuple(chain), held, wanted, pending, missing)


def _follow(store: RootStore, fleet: str, judge: Judge) -> tuple[HeldRoot | None, list[Signed], Signed | None]:
    """Return the last root that counts, all of them, and the one after it that does not count yet."""
    held: HeldRoot | None = None
    chain: list[Signed] = []
    versions = store.versions()
    for version in versions:
        signed = store.root(version)
        try:
            found = first_root(signed, fleet, judge) if held is None else next_root(held, signed, judge)
        except RootRefused as refused:
            if version == versions[-1]:
                return held, chain, signed
            raise NotSigned(
                f"{store.folder}/{version}.root.json does not count: {refused.reason}",
                hint="take the folder root/ from git again; only signers change it",
            ) from refused
        if found.root.version != version:
            raise UsageError(
                f"{store.folder}/{version}.root.json is root {found.root.version}",
                hint="take the folder root/ from git again",
            )
        held = found
        chain.append(signed)
    return held, chain, None


def _lacks(held: HeldRoot | None, wanted: TrustRoot, pending: Signed | None, judge: Judge) -> str:
    """Say who has to sign the next root, by the last one and by itself."""
    signatures = () if pending is None else pending.signatures
    found: list[str] = []
    for whose in (None if held is None or held.root.unsigned else held.root, None if wanted.unsigned else wanted):
        if whose is not None:
            facts = [judge(whose, wanted.text, each, NAMESPACES[ROOT]) for each in signatures]
            missing = why_too_few(facts, whose.threshold)
            found += [f"{missing} (the signers of root {whose.version})"] if missing else []
    return "; ".join(found) or "not written down yet"


@dataclass(frozen=True, slots=True)
class SignedBy:
    """One signature that was made now."""

    what: str
    path: Path


def sign_root(found: RootStanding, store: RootStore, signer: Signer, key: tuple[Path, str]) -> SignedBy | None:
    """Write and sign the root that the manifest asks for; None when it counts already, or the key signed it before.

    Raises UsageError when the key is neither a signer of the last root nor of the next.
    """
    if not found.differs:
        return None
    path, fingerprint = key
    wanted, judge = found.wanted, judge_with(signer)
    signature = signer.sign(wanted.text.encode(), NAMESPACES[ROOT], path)
    roots = [wanted] if found.held is None else [found.held.root, wanted]
    facts = [judge(root, wanted.text, signature, NAMESPACES[ROOT]) for root in roots if not root.unsigned]
    if not any(each.counts for each in facts):
        raise UsageError(
            f"{path} may not sign a root: {'; '.join(dict.fromkeys(each.problem for each in facts))}",
            hint='its line in allowed_signers needs the namespace jetfleet.root (namespaces="jetfleet.*"); or --key'
            " names another",
        )
    store.put_root(wanted.version, wanted.text)
    return SignedBy(f"root {wanted.version}", store.add_signature(str(wanted.version), fingerprint, signature))


def updater_words(fleet: str, version: str, zipapp: bytes, now: float, lasts_s: float) -> Statement:
    """Return what is signed for an updater, so that robots take it."""
    issued = float(int(now))
    return Statement(UPDATER, fleet, version, digest_of_bytes(zipapp), issued, issued + lasts_s)


def why_no_updater(root: TrustRoot, signed: Signed | None, mine: Statement, judge: Judge) -> str:
    """Say why robots would not take the updater at hand by this statement; empty when they would."""
    if signed is None:
        return "it has no signature"
    facts = [judge(root, signed.statement, each, NAMESPACES[UPDATER]) for each in signed.signatures]
    missing = why_too_few(facts, root.threshold)
    if missing:
        return missing
    said = _statement(signed)
    if said is None or (said.fleet, said.version, said.document) != (mine.fleet, mine.version, mine.document):
        return f"signed is the updater {said.version if said else 'unknown'}, at hand is {mine.version}"
    return "its signature has expired" if said.expires_at < mine.issued_at else ""


def sign_updater(
    found: RootStanding, store: RootStore, signer: Signer, key: tuple[Path, str], mine: Statement
) -> SignedBy | None:
    """Sign the updater at hand, in the words of an earlier signer where they fit; None when nothing is to be signed."""
    root, judge = found.wanted, judge_with(signer)
    there = store.updater()
    if root.unsigned or not why_no_updater(root, there, mine, judge):
        return None
    path, fingerprint = key
    words = None if there is None else _statement(there)
    fits = there is not None and words is not None and not why_beyond(there.statement, words, mine)
    fits = fits and words is not None and words.expires_at > mine.issued_at
    text = there.statement if there is not None and fits else canonical_json(mine).decode()
    signature = signer.sign(text.encode(), NAMESPACES[UPDATER], path)
    facts = judge(root, text, signature, NAMESPACES[UPDATER])
    if not facts.counts:
        raise UsageError(
            f"{path} may not sign an updater: {facts.problem}",
            hint='its line in allowed_signers needs the namespace jetfleet.updater (namespaces="jetfleet.*")',
        )
    store.put_updater(text)
    return SignedBy(f"updater {mine.version}", store.add_signature(UPDATER_STEM, fingerprint, signature))


def _statement(signed: Signed) -> Statement | None:
    try:
        return from_json(Statement, signed.statement)
    except ContractError:
        return None


def chain_of(found: RootStanding) -> Sequence[Signed]:
    """Return the roots to bring to robots. Raises NotSigned when the manifest's trust is none that counts."""
    if found.differs:
        has = "no trust root yet" if found.held is None else f"root {found.held.root.version}"
        raise NotSigned(
            f"the manifest's trust is not signed: the fleet has {has}, root {found.wanted.version} is {found.missing}",
            hint=f"run {SIGN}, commit the folder root/, and let further signers do the same until enough have",
        )
    return found.chain
