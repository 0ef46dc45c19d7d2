"""Who signed for a release: sign it, judge what the registry holds, say what is missing before a robot is touched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fleet.errors import NotSigned, UsageError
from fleet.oci.releases import PublishedRelease
from fleet.ports import Registry, Signer
from fleet.signing.allowed_signers import known_keys
from fleet.signing.intent import at, covers, why_beyond
from fleet.signing.signatures import StoredSignature, push_signature, stored_signatures
from fleet.signing.trust_spec import TrustSpec
from runtime.contract.codec import canonical_json
from runtime.contract.robot.trust import (
    MOST_RELEASE_S,
    MOST_ROLLBACK_S,
    NAMESPACES,
    RELEASE,
    SignatureFacts,
    Signed,
    Statement,
    distinct_signers,
    why_too_few,
)


@dataclass(frozen=True, slots=True)
class JudgedSignature:
    """One signature in the registry and what it is worth here, now."""

    stored: StoredSignature
    facts: SignatureFacts
    problem: str = ""
    """Why it does not count; empty when it does."""
    expired: bool = False
    """That it has run out is all that is wrong with it."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """One statement with all that signed it."""

    text: str
    statement: Statement
    signatures: tuple[JudgedSignature, ...]

    @property
    def people(self) -> tuple[str, ...]:
        """Who signed, each by a key of their own."""
        return distinct_signers([each.facts for each in self.signatures if not each.problem])

    @property
    def people_once(self) -> tuple[str, ...]:
        """Who signed, those included whose signature has run out since."""
        return distinct_signers([each.facts for each in self.signatures if not each.problem or each.expired])

    def signed_by(self, key: str) -> bool:
        """Whether that key (``SHA256:…``) is among them."""
        return any(each.facts.key == key for each in self.signatures)


class Keyring:
    """The manifest's allowed signers and the operator's own key, against the signatures in one registry."""

    def __init__(self, registry: Registry, prefix: str, trust: TrustSpec, signer: Signer, now: float) -> None:
        """``now``: Unix seconds, for what has expired."""
        self._registry = registry
        self._prefix = prefix
        self._trust = trust
        self._signer = signer
        self._now = now

    def key(self, given: Path | None = None) -> tuple[Path, str]:
        """Return the operator's key and its fingerprint. Raises UsageError when none is named or it is not there."""
        path = given or self._trust.sign_with
        if self._trust.unsigned:
            raise UsageError(
                "this fleet is unsigned: its releases have no signatures",
                hint="name the signers in fleet.yaml: trust: {signers: allowed_signers}; docs/trust.md shows how",
            )
        if path is None:
            raise UsageError(
                "no key to sign with", hint="set trust/sign_with in fleet.yaml, or give one: --key ~/.ssh/id_ed25519"
            )
        return path, self._signer.fingerprint(path)

    def bundles(self, release: PublishedRelease, kind: str = RELEASE) -> tuple[list[Bundle], list[str]]:
        """Return the statements about a release, the one with the most signers first, and what cannot be read."""
        assert self._trust.signers is not None, "an unsigned fleet checks no signatures"
        known = known_keys(self._trust.signers, NAMESPACES[kind]) or ()
        stored, damaged = stored_signatures(self._registry, self._prefix, release, kind, known)
        by_text: dict[str, dict[str, JudgedSignature]] = {}
        for each in stored:
            judged = self._judge(release, each)
            # A signature that was copied to other tags is one; robots look at a few only.
            there = by_text.setdefault(each.text, {}).setdefault(judged.facts.key or each.tag, judged)
            if there.problem and not judged.problem:
                by_text[each.text][judged.facts.key] = judged
        bundles = [
            Bundle(text, next(iter(found.values())).stored.statement, tuple(found.values()))
            for text, found in by_text.items()
        ]
        return sorted(bundles, key=lambda b: (-len(b.people), -b.statement.issued_at)), damaged

    def within(self, bundles: Sequence[Bundle], mine: Statement, key: str = "") -> tuple[list[Bundle], list[str]]:
        """Return those bundles whose words may be signed instead of ``mine``, and a sentence for each that may not.

        ``key`` (``SHA256:…``): the signer's own, whose earlier words are named so.
        """
        fitting, beyond = [], []
        for bundle in bundles:
            if not bundle.people:
                continue
            why = why_beyond(bundle.text, bundle.statement, mine)
            if why:
                who = "you" if bundle.people and bundle.signed_by(key) else ", ".join(bundle.people)
                beyond.append(f"the statement that {who} signed is not co-signed: {why}")
            elif covers(bundle.statement, mine):
                fitting.append(bundle)
        return fitting, beyond

    def counted(self, release: PublishedRelease) -> bool:
        """Whether enough people have signed for this very document, be it that time ran out since."""
        needed = self._trust.threshold
        return any(len(bundle.people_once) >= needed for bundle in self.bundles(release)[0])

    def signed_before(self, release: PublishedRelease, key: str) -> bool:
        """Whether that key (``SHA256:…``) has signed for this very document, be it that time ran out since."""
        judged = (each for bundle in self.bundles(release)[0] for each in bundle.signatures)
        return any(each.facts.key == key and (not each.problem or each.expired) for each in judged)

    def _judge(self, release: PublishedRelease, stored: StoredSignature) -> JudgedSignature:
        statement, signers = stored.statement, self._trust.signers
        assert signers is not None, "an unsigned fleet checks no signatures"
        facts = self._signer.check(
            stored.text.encode(),
            stored.signature,
            NAMESPACES[statement.kind],
            allowed=signers,
            revoked=self._trust.revoked,
        )
        problem = facts.problem if not facts.counts else _odd_words(statement, release)
        expired = not problem and statement.expires_at < self._now
        if expired:
            problem = f"it expired at {at(statement.expires_at)}"
        return JudgedSignature(stored, facts, problem, expired)

    def sign(self, statement: Statement, beside: Sequence[Bundle], key: tuple[Path, str]) -> Bundle | None:
        """Sign ``statement``, or the first of ``beside`` (see :meth:`within`); None when our key has signed that.

        Raises UsageError when robots would not take the key's signature.
        """
        path, fingerprint = key
        open_ = [bundle for bundle in beside if bundle.people][:1]
        if open_ and open_[0].signed_by(fingerprint):
            return None
        text = open_[0].text if open_ else canonical_json(statement).decode()
        signature = self._signer.sign(text.encode(), NAMESPACES[statement.kind], path)
        assert self._trust.signers is not None, "key() refuses unsigned fleets"
        facts = self._signer.check(
            text.encode(),
            signature,
            NAMESPACES[statement.kind],
            allowed=self._trust.signers,
            revoked=self._trust.revoked,
        )
        if not facts.counts:
            raise UsageError(
                f"robots would refuse a signature of {path}: {facts.problem}",
                hint=f"add the key to {self._trust.signers} (and run fleet keys push), or sign with another: --key",
            )
        tag = push_signature(self._registry, self._prefix, text, signature, facts.key)
        signed = open_[0].statement if open_ else statement
        judged = JudgedSignature(StoredSignature(tag, text, signed, signature), facts)
        return Bundle(text, signed, (*(open_[0].signatures if open_ else ()), judged))

    def require(self, release: PublishedRelease) -> Signed:
        """Return the signatures that robots will ask for. Raises NotSigned with who signed and what to run."""
        bundles, damaged = self.bundles(release)
        best = bundles[0] if bundles else None
        judged = [each for bundle in bundles for each in bundle.signatures]
        missing = self.missing(best, [*(each.problem for each in judged if each.problem), *damaged])
        if missing or best is None:
            raise NotSigned(
                f"release {release.version} is {missing}",
                hint=f"let an allowed signer run fleet keys sign {release.version}; fleet keys verify "
                f"{release.version} shows every signature",
            )
        return signed_of(best)

    def missing(self, bundle: Bundle | None, problems: Sequence[str] = ()) -> str:
        """Say what a statement lacks to the manifest's threshold; empty when nothing."""
        facts = [each.facts for each in bundle.signatures if not each.problem] if bundle else []
        missing = why_too_few(facts, self._trust.threshold)
        return "; ".join([missing, *dict.fromkeys(problems)]) if missing else ""


def signed_of(bundle: Bundle) -> Signed:
    """Return a statement with those of its signatures that count."""
    return Signed(bundle.text, tuple(each.stored.signature for each in bundle.signatures if not each.problem))


def _odd_words(statement: Statement, release: PublishedRelease) -> str:
    """Say what robots would not take about the words themselves, time apart; empty when nothing."""
    if (statement.fleet, statement.version) != (release.document.fleet, release.version):
        return f"it is for {statement.fleet} {statement.version}"
    lasts = statement.expires_at - statement.issued_at
    most = MOST_RELEASE_S if statement.kind == RELEASE else MOST_ROLLBACK_S
    if lasts > most:
        return f"it was made for {lasts / 86400:.1f} days, robots accept {most / 86400:.1f} at most"
    return ""
