"""Signatures beside a release: one artifact a signer, the same words for all of them, judged before robots are asked."""

# ruff: noqa: E501  (sentences that are matched stay whole)

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fleet.errors import NotSigned, RegistryError, SigningError, UsageError
from fleet.oci.image_spec import Bytes, Descriptor, manifest_bytes
from fleet.oci.releases import PublishedRelease, as_published, list_releases, load_release, publish_release
from fleet.signing.keyring import Keyring, signed_of
from fleet.signing.signatures import (
    ROLLBACK_S,
    SIGNATURE_TYPE,
    push_signature,
    release_statement,
    rollback_statement,
    signature_tag,
    stored_signatures,
)
from fleet.signing.trust_spec import TrustSpec
from runtime.contract.codec import canonical_json, digest_of, from_json
from runtime.contract.robot.trust import RELEASE, ROLLBACK, Statement, document_digest
from tests.fakes.registry import FakeRegistry
from tests.fakes.rollout_site import release
from tests.fakes.signer import FakeSigner, fingerprint_of

PREFIX = "warehouse"
NOW = 1_800_000_000.0
DAY = 86400.0


class Office:
    """A published release 1.0.0, and keys of Anna, Ben and Eve; Anna and Ben may sign."""

    def __init__(self, folder: Path, threshold: int = 1) -> None:
        self.folder = folder
        self.registry = FakeRegistry()
        self.signer = FakeSigner()
        for name in ("anna", "ben", "eve"):
            (folder / name).write_text("a key")
        (folder / "allowed_signers").write_text("anna@x anna\nben@x ben\n")
        (folder / "revoked").write_text("")
        self.trust = TrustSpec(folder / "allowed_signers", threshold, None, 90 * DAY, folder / "revoked")
        self.release = self.publish("1.0.0")

    def publish(self, version: str) -> PublishedRelease:
        return publish_release(self.registry, PREFIX, release(version, {"r0": "a"}))

    def keys(self, now: float = NOW) -> Keyring:
        return Keyring(self.registry, PREFIX, self.trust, self.signer, now)

    def sign(self, name: str, now: float = NOW, renew: bool = False) -> bool:
        """Sign as `fleet keys sign` does; return whether anything was signed."""
        keys = self.keys(now)
        beside = [] if renew else keys.bundles(self.release)[0]
        statement = release_statement(self.release, now, self.trust.expires_s)
        return keys.sign(statement, beside, keys.key(self.folder / name)) is not None


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def test_what_is_signed_is_the_document_as_it_was_published(office: Office) -> None:
    statement = release_statement(office.release, NOW + 0.7, 90 * DAY)
    assert statement.document == document_digest(office.release.text) == digest_of(office.release.document)
    assert (statement.kind, statement.fleet, statement.version) == (RELEASE, "warehouse", "1.0.0")
    assert (statement.issued_at, statement.expires_at) == (NOW, NOW + 90 * DAY)
    back = rollback_statement(office.release, NOW, ["r1", "r0"], "it squeaks")
    assert (back.kind, back.robots, back.reason, back.expires_at) == (
        ROLLBACK,
        ("r0", "r1"),
        "it squeaks",
        NOW + ROLLBACK_S,
    )
    assert rollback_statement(office.release, NOW, [], "").robots == ("*",)


def test_everything_that_a_robot_runs_is_bound_by_the_document(office: Office) -> None:
    document = office.release.document
    variant = document.variants[0]
    engine = variant.engines[0]
    changed = [
        replace(document, variants=(replace(variant, image=variant.image[:-1] + "0"),)),
        replace(document, variants=(replace(variant, engines=(replace(engine, key="sha256:0"),)),)),
        replace(document, variants=(replace(variant, engines=(replace(engine, layer_digest="sha256:0"),)),)),
        replace(document, variants=(replace(variant, config_digest="sha256:0"),)),
        replace(document, compose={"robot.compose.yaml": "services: {x: {}}"}),
        replace(document, environment={"r0": {"A": "1"}}),
        replace(document, probation=replace(document.probation, soak_s=0.0)),
    ]
    digests = {document_digest(as_published(each).text) for each in [document, *changed]}
    assert len(digests) == len(changed) + 1


def test_signatures_lie_beside_the_release_and_are_no_version(office: Office) -> None:
    assert office.sign("anna")
    tags = office.registry.tags(f"{PREFIX}/releases")
    document = document_digest(office.release.text)
    assert signature_tag(RELEASE, document, fingerprint_of("anna")) in tags
    assert len([tag for tag in tags if tag.startswith(f"sig-{document[7:19]}-")]) == 1
    assert list_releases(office.registry, PREFIX) == ["1.0.0"]


def test_a_tag_needs_a_fingerprint() -> None:
    assert signature_tag(ROLLBACK, "sha256:" + "ab" * 32, "SHA256:" + "A" * 43) == f"rollback-{'ab' * 6}-{'0' * 12}"
    with pytest.raises(ValueError, match="no fingerprint of a key"):
        signature_tag(RELEASE, "sha256:00", "SHA256:?")


def test_the_second_signer_signs_the_same_words(office: Office) -> None:
    office.trust = replace(office.trust, threshold=2)
    assert office.sign("anna")
    with pytest.raises(NotSigned, match=r"signed by 1 of 2 allowed signers that are needed \(anna@x\)") as caught:
        office.keys().require(office.release)
    assert caught.value.exit_code == 4
    assert "fleet keys sign 1.0.0" in caught.value.hint
    assert office.sign("ben", NOW + DAY)
    signed = office.keys(NOW + DAY).require(office.release)
    assert len(signed.signatures) == 2
    assert from_json(Statement, signed.statement).issued_at == NOW


def test_signing_again_changes_nothing_until_it_is_renewed(office: Office) -> None:
    assert office.sign("anna")
    before = office.registry.snapshot()
    assert not office.sign("anna", NOW + DAY)
    assert office.registry.snapshot() == before
    assert office.sign("anna", NOW + DAY, renew=True)
    statement = from_json(Statement, office.keys(NOW + DAY).require(office.release).statement)
    assert statement.issued_at == NOW + DAY
    assert len(office.registry.tags(f"{PREFIX}/releases")) == 2, "one artifact a signer"


def test_an_expired_signature_is_signed_anew(office: Office) -> None:
    assert office.sign("anna")
    later = NOW + 91 * DAY
    with pytest.raises(NotSigned, match=r"by 0 of 1 .*; it expired at 2027-04-15 08:00 UTC"):
        office.keys(later).require(office.release)
    assert office.sign("anna", later)
    assert office.keys(later).require(office.release).signatures


def test_a_key_that_robots_would_not_take_signs_nothing(office: Office) -> None:
    before = office.registry.snapshot()
    with pytest.raises(
        UsageError, match=r"robots would not take a signature of .*eve: SHA256:\S+ is no allowed signer"
    ) as e:
        office.sign("eve")
    assert "allowed_signers" in e.value.hint
    assert office.registry.snapshot() == before


def test_a_key_revoked_later_counts_no_more(office: Office) -> None:
    assert office.sign("anna")
    (office.folder / "revoked").write_text("anna")
    with pytest.raises(NotSigned, match=r"by 0 of 1 .* of anna@x is revoked"):
        office.keys().require(office.release)
    assert office.sign("ben")
    assert len(office.keys().require(office.release).signatures) == 1


def test_a_key_that_does_not_sign_says_so(office: Office) -> None:
    office.signer.broken = "agent refused operation"
    with pytest.raises(SigningError, match="agent refused operation"):
        office.sign("anna")


@pytest.mark.parametrize(
    ("trust", "says"),
    [(TrustSpec(), "this fleet is unsigned"), (TrustSpec(Path("x")), "no key to sign with")],
)
def test_without_a_key_nothing_is_signed(office: Office, trust: TrustSpec, says: str) -> None:
    office.trust = trust
    with pytest.raises(UsageError, match=says) as caught:
        office.keys().key()
    assert caught.value.hint


def test_a_key_that_is_not_there(office: Office) -> None:
    with pytest.raises(UsageError, match=r"the key .*nobody does not exist"):
        office.keys().key(office.folder / "nobody")


def test_a_release_that_nobody_signed(office: Office) -> None:
    with pytest.raises(NotSigned, match=r"release 1.0.0 is signed by 0 of 1 allowed signers that are needed"):
        office.keys().require(office.release)


def test_another_document_under_the_same_version_has_no_signatures(office: Office) -> None:
    assert office.sign("anna")
    swapped = as_published(release("1.0.0", {"r0": "b"}))
    with pytest.raises(NotSigned, match="by 0 of 1"):
        office.keys().require(swapped)


def test_another_release_under_a_version_s_tag_is_refused(office: Office) -> None:
    other = office.publish("0.9.0")
    repository = f"{PREFIX}/releases"
    found = office.registry.get_manifest(repository, other.digest)
    assert found is not None
    office.registry.put_manifest(repository, "1.0.0", found.body, found.media_type)
    with pytest.raises(RegistryError, match=r"releases:1\.0\.0: the tag holds release 0\.9\.0"):
        load_release(office.registry, PREFIX, "1.0.0")


def test_a_statement_of_another_fleet_does_not_count(office: Office) -> None:
    statement = replace(release_statement(office.release, NOW, DAY), fleet="depot")
    text = canonical_json(statement).decode()
    signature = office.signer.sign(text.encode(), "jetfleet.release", office.folder / "anna")
    push_signature(office.registry, PREFIX, text, signature, fingerprint_of("anna"))
    with pytest.raises(NotSigned, match=r"it is for depot 1\.0\.0"):
        office.keys().require(office.release)


@pytest.mark.parametrize(
    "body", [b"{", b'{"statement": "{}", "signatures": ["a"]}', b'{"statement": "{}", "signatures": []}']
)
def test_what_somebody_else_put_there_is_told_and_does_no_harm(office: Office, body: bytes) -> None:
    repository = f"{PREFIX}/releases"
    blob, empty = Bytes.of(body), Bytes.of(b"{}")
    for each in (blob, empty):
        office.registry.push_blob(repository, each)
    manifest = manifest_bytes(
        Descriptor("application/vnd.oci.empty.v1+json", empty.digest, empty.size),
        [Descriptor(SIGNATURE_TYPE, blob.digest, blob.size)],
    )
    tag = signature_tag(RELEASE, document_digest(office.release.text), fingerprint_of("mallory"))
    office.registry.put_manifest(repository, tag, manifest, "application/vnd.oci.image.manifest.v1+json")
    stored, damaged = stored_signatures(office.registry, PREFIX, office.release, RELEASE)
    assert stored == []
    assert f"{repository}:{tag} cannot be read" in damaged[0]
    with pytest.raises(NotSigned, match="cannot be read"):
        office.keys().require(office.release)
    assert office.sign("anna")
    assert office.keys().require(office.release).signatures


def test_a_rollback_order_covers_the_robots_that_it_names(office: Office) -> None:
    keys = office.keys()
    key = keys.key(office.folder / "anna")
    some = keys.sign(rollback_statement(office.release, NOW, ["r0", "r1"], ""), [], key)
    assert some is not None
    assert keys.covers(some, ["r0"])
    assert not keys.covers(some, ["r0", "r2"])
    assert not keys.covers(some, [])
    every = keys.sign(rollback_statement(office.release, NOW, [], ""), [], key)
    assert every is not None
    assert keys.covers(every, [])
    assert keys.covers(every, ["r7"])
    assert len(signed_of(every).signatures) == 1
    (stored,), _ = office.keys(NOW + ROLLBACK_S + 1).bundles(office.release, ROLLBACK)
    assert not office.keys(NOW + ROLLBACK_S + 1).covers(stored, []), "expired"
