"""The builder role: whoever builds signs for it, and nothing is published that no builder signed for."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from fleet.errors import UsageError
from fleet.oci.image_spec import Descriptor
from fleet.oci.skim import said
from fleet.parallel import side_by_side
from fleet.ports import Registry, Signer
from fleet.publish.attestations import StoredAttestation, push_attestation, stored_attestations
from fleet.signing.allowed_signers import known_keys
from fleet.signing.dsse import IN_TOTO, pae, sealed
from fleet.signing.provenance import PROVENANCE, Build, statement, why_not
from fleet.signing.trust_spec import TrustSpec


@dataclass(frozen=True, slots=True)
class Proven:
    """What is known about one artifact's origin."""

    builders: tuple[str, ...]
    """Who attests it, of those whom the manifest allows to; sorted."""
    problem: str = ""
    """Why nobody's attestation counts; empty when somebody's does."""


class Builders:
    """The builders that a signed fleet's manifest names, against the attestations in one registry."""

    def __init__(self, registry: Registry, trust: TrustSpec, signer: Signer) -> None:
        self._registry = registry
        self._trust = trust
        self._signer = signer

    @property
    def _allowed(self) -> Path:
        allowed = self._trust.builders or self._trust.signers
        assert allowed is not None, "an unsigned fleet has no builders"
        return allowed

    # ── attesting ────────────────────────────────────────────────────────────────────────────────────────────────

    def key(self) -> tuple[Path, str]:
        """Return the key to attest with and its fingerprint. Raises UsageError: none is named, or it is no builder's.

        Asked before anything is built, so that minutes of building do not end in a key that counts for nothing.
        """
        path = self._trust.build_with or self._trust.sign_with
        if path is None:
            raise UsageError(
                "this fleet is signed, and no key to attest builds is set",
                hint="set trust/build_with in fleet.yaml: a key (or the .pub of one in an agent) of trust/builders",
            )
        fingerprint = self._signer.fingerprint(path)
        known = known_keys(self._allowed, PROVENANCE, authorities=True)
        if known is not None and fingerprint not in known:
            raise self._no_builder(path, f"{fingerprint} is not in {self._allowed} for {PROVENANCE}")
        return path, fingerprint

    def attest(self, repository: str, subject: Descriptor, build: Build, *, started: float, finished: float) -> str:
        """Sign for what was just built, and store it next to the artifact; return the tag.

        Call it with what this process built and pushed itself, never with what a registry shows. Raises UsageError when
        the key is no builder's, SigningError, RegistryError.
        """
        path, _ = self.key()
        payload = statement(
            build, subject.digest, version=version("jetfleet"), run=uuid.uuid4().hex, started=started, finished=finished
        )
        words = pae(IN_TOTO, payload)
        signature = self._signer.sign(words, PROVENANCE, path)
        facts = self._signer.check(words, signature, PROVENANCE, allowed=self._allowed, revoked=self._trust.revoked)
        if not facts.counts:
            raise self._no_builder(path, facts.problem)
        return push_attestation(self._registry, repository, subject, sealed(payload, signature, facts.key), facts.key)

    def _no_builder(self, path: Path, why: str) -> UsageError:
        line = f'name@example.com namespaces="{PROVENANCE}" ssh-ed25519 AAAA…'
        return UsageError(
            f"an attestation with {path} would not be valid: {why}",
            hint=f"add the key to {self._allowed} ({line}), or name another in trust/build_with",
        )

    # ── judging ──────────────────────────────────────────────────────────────────────────────────────────────────

    def judge(self, repository: str, wanted: Sequence[tuple[str, Build]]) -> list[Proven]:
        """Return who attests each of (manifest digest, build). One request for the tags, two an attestation."""
        if not wanted:
            return []
        tags = [tag for tag in self._registry.tags(repository) if tag.startswith("att-")]
        return side_by_side(lambda each: self._one(repository, tags, *each), wanted)

    def _one(self, repository: str, tags: Sequence[str], digest: str, build: Build) -> Proven:
        first = known_keys(self._allowed, PROVENANCE) or ()
        found, problems = stored_attestations(self._registry, repository, tags, digest, first)
        people: set[str] = set()
        for each in found:
            counted, why = self._check(each, digest, build)
            people |= set(counted)
            problems += [why] if why else []
        if people:
            return Proven(tuple(sorted(people)))
        return Proven((), "; ".join(dict.fromkeys(problems)) or f"{digest} has no attestation of a builder")

    def _check(self, stored: StoredAttestation, digest: str, build: Build) -> tuple[tuple[str, ...], str]:
        """Judge the signature first, and read what it is over only then."""
        facts = self._signer.check(
            pae(IN_TOTO, stored.payload),
            stored.signatures[0],
            PROVENANCE,
            allowed=self._allowed,
            revoked=self._trust.revoked,
        )
        if not facts.counts:
            return (), f"an attestation is not valid: {facts.problem}"
        try:
            why = why_not(stored.payload, build, digest)
        except (ValueError, RecursionError, OverflowError) as error:
            why = f"it cannot be read: {said(error)}"
        who = ", ".join(facts.principals)
        return ((), f"the attestation of {who} is about something else: {why}") if why else (facts.principals, "")
