"""Who signed for a release: sign it, judge what the registry holds, say what is missing before a robot is touched."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fleet.errors import NotSigned, UsageError
from fleet.oci.releases import PublishedRelease
from fleet.ports import Registry, Signer
from fleet.signing.signatures import StoredSignature, push_signature, stored_signatures
from fleet.signing.trust_spec import TrustSpec
from runtime.contract.codec import canonical_json
from runtime.contract.robot.trust import (
    EVERY_ROBOT,
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
                "this fleet is unsigned: nobody signs its releases",
                hint="name the signers in fleet.yaml: trust: {signers: allowed_signers}; docs/trust.md shows how",
            )
        if path is None:
            raise UsageError(
                "no key to sign with", hint="set trust/sign_with in fleet.yaml, or give one: --key ~/.ssh/id_ed25519"
            )
        return path, self._signer.fingerprint(path)

    def bundles(self, release: PublishedRelease, kind: str = RELEASE) -> tuple[list[Bundle], list[str]]:
        """Return the statements about a release, the one with the most signers first, and what cannot be read."""
        stored, damaged = stored_signatures(self._registry, self._prefix, release, kind)
        by_text: dict[str, list[JudgedSignature]] = {}
        for each in stored:
            by_text.setdefault(each.text, []).append(self._judge(release, each))
        bundles = [Bundle(text, judged[0].stored.statement, tuple(judged)) for text, judged in by_text.items()]
        return sorted(bundles, key=lambda b: (-len(b.people), -b.statement.issued_at)), damaged

    def _judge(self, release: PublishedRelease, stored: StoredSignature) -> JudgedSignature:
        statement, signers = stored.statement, self._trust.signers
        assert signers is not None, "an unsigned fleet judges nothing"
        facts = self._signer.check(
            stored.text.encode(),
            stored.signature,
            NAMESPACES[statement.kind],
            allowed=signers,
            revoked=self._trust.revoked,
        )
        problem = facts.problem if not facts.counts else ""
        if (statement.fleet, statement.version) != (release.document.fleet, release.version):
            problem = f"it is for {statement.fleet} {statement.version}"
        elif statement.expires_at < self._now:
            problem = f"it expired at {at(statement.expires_at)}"
        return JudgedSignature(stored, facts, problem)

    def sign(self, statement: Statement, beside: Sequence[Bundle], key: tuple[Path, str]) -> Bundle | None:
        """Sign ``statement``, or the same words as those before us in ``beside``; None when our key has signed those.

        Raises UsageError when robots would not take the key's signature.
        """
        path, fingerprint = key
        mine = [bundle for bundle in beside if bundle.people and bundle.signed_by(fingerprint)]
        if mine:
            return None
        open_ = [bundle for bundle in beside if bundle.people]
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
                f"robots would not take a signature of {path}: {facts.problem}",
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

    def covers(self, bundle: Bundle, robots: Sequence[str]) -> bool:
        """Whether a rollback order counts now, and is for (at least) these robots; none means all."""
        named = bundle.statement.robots
        return bool(bundle.people) and (EVERY_ROBOT in named or (bool(robots) and set(robots) <= set(named)))


def signed_of(bundle: Bundle) -> Signed:
    """Return a statement with those of its signatures that count."""
    return Signed(bundle.text, tuple(each.stored.signature for each in bundle.signatures if not each.problem))


def at(moment: float) -> str:
    """Return a moment as people read it, UTC."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(max(0.0, min(moment, 4e10))))
