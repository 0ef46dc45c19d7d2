"""Signatures beside a release: one artifact a signer, the same words for all of them, judged before robots are asked."""

# ruff: noqa: E501  (sentences that are matched stay whole)

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.errors import NotSigned, RegistryError, SigningError, UsageError
from fleet.oci.image_spec import MANIFEST, Bytes, Descriptor, manifest_bytes
from fleet.oci.releases import PublishedRelease, as_published, list_releases, load_release, publish_release
from fleet.oci.skim import MOST_BYTES, MOST_TAGS
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
from runtime.contract.robot.trust import NAMESPACES, RELEASE, ROLLBACK, Statement, document_digest
from tests.fakes.registries.registry import FakeRegistry
from tests.fakes.robots.rollout_site import release
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
        statement = release_statement(self.release, now, self.trust.expires_s)
        beside, _ = keys.within([] if renew else keys.bundles(self.release)[0], statement)
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
    with pytest.raises(ValueError, match="not the fingerprint of a key"):
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
        UsageError, match=r"robots would refuse a signature of .*eve: SHA256:\S+ is not an allowed signer"
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

    def mine(*names: str) -> Statement:
        return rollback_statement(office.release, NOW, names, "")

    assert keys.within([some], mine("r0", "r1")) == ([some], [])
    assert keys.within([some], mine("r0", "r1", "r2")) == ([], []), "less than is meant: a statement of one's own"
    assert keys.within([some], mine()) == ([], [])
    fitting, beyond = keys.within([some], mine("r0"))
    assert fitting == []
    assert "statement that anna@x signed" in beyond[0]
    assert "r1 too, yours would be for r0" in beyond[0]
    every = keys.sign(rollback_statement(office.release, NOW, [], ""), [], key)
    assert every is not None
    assert keys.within([every], mine()) == ([every], [])
    assert "for all robots, yours would be for r7" in keys.within([every], mine("r7"))[1][0]
    assert len(signed_of(every).signatures) == 1
    (stored,), _ = office.keys(NOW + ROLLBACK_S + 1).bundles(office.release, ROLLBACK)
    assert office.keys(NOW + ROLLBACK_S + 1).within([stored], mine()) == ([], []), "expired"


# ── junk beside the signatures ──


def put(office: Office, number: int, content: bytes, media_type: str = SIGNATURE_TYPE) -> str:
    """Put something under a tag that looks like a signature's; return the tag."""
    blob, empty = Bytes.of(content), Bytes.of(b"{}")
    repository = f"{PREFIX}/releases"
    office.registry.push_blob(repository, blob)
    office.registry.push_blob(repository, empty)
    body = manifest_bytes(
        Descriptor("application/json", empty.digest, empty.size), [Descriptor(media_type, blob.digest, blob.size)]
    )
    tag = f"sig-{document_digest(office.release.text)[7:19]}-{number:012x}"
    office.registry.put_manifest(repository, tag, body, MANIFEST)
    return tag


def wrapped(statement: str) -> bytes:
    return json.dumps({"statement": statement, "signatures": ["x"]}).encode()


JUNK = {
    "no json": b"\xff\xfe",
    "deep": b"[" * 100_000,
    "a deep statement": wrapped("[" * 100_000),
    "a number of 400 digits": wrapped('{"kind":"release","fleet":"f","version":"1.0.0","document":"x","issued_at":1' + "0" * 400 + ',"expires_at":1}'),
    "a number of 5000 digits": wrapped('{"issued_at":' + "1" * 5000 + "}"),
    "a lone surrogate": wrapped("{}").replace(b'"x"', b'"\\ud800"'),
    "a list": b"[]",
    "nothing": b"",
}  # fmt: skip


@pytest.mark.parametrize("content", JUNK.values(), ids=JUNK.keys())
def test_junk_is_named_and_skipped(office: Office, content: bytes) -> None:
    assert office.sign("anna")
    tag = put(office, 7, content)
    keys = office.keys()
    assert keys.require(office.release).signatures
    bundles, damaged = keys.bundles(office.release)
    assert [bundle.people for bundle in bundles] == [("anna@x",)]
    assert len(damaged) == 1
    assert tag in damaged[0]
    assert office.sign("ben"), "and others sign"


def test_a_signature_with_a_surrogate_is_no_signature(office: Office) -> None:
    assert office.sign("anna")
    (bundle,), _ = office.keys().bundles(office.release)
    put(office, 7, json.dumps({"statement": bundle.text, "signatures": ["\ud800"]}).encode())
    assert office.keys().require(office.release)


def test_a_blob_that_is_gone_is_named_and_a_registry_that_is_gone_is_an_error(office: Office) -> None:
    assert office.sign("anna")
    put(office, 7, b"gone")
    office.registry.lose_blob(f"{PREFIX}/releases", Bytes.of(b"gone").digest)
    bundles, damaged = office.keys().bundles(office.release)
    assert len(bundles) == 1
    assert "BLOB_UNKNOWN" in damaged[0]

    def gone(verb: str, _target: str) -> None:
        if verb in ("read_blob", "ping"):
            raise RegistryError("registry.test:5000: does not answer")

    office.registry.hook = gone
    with pytest.raises(RegistryError, match="does not answer"):
        office.keys().bundles(office.release)


def test_a_document_that_is_too_large_is_not_fetched(office: Office) -> None:
    assert office.sign("anna")
    tag = put(office, 7, b"x" * (MOST_BYTES + 1))
    office.registry.calls.clear()
    _, damaged = office.keys().bundles(office.release)
    assert tag in damaged[0]
    assert "at most" in damaged[0]
    assert len([verb for verb, _ in office.registry.calls if verb == "read_blob"]) == 1, "anna's alone"


def test_a_flood_of_signatures_is_cut_off(office: Office) -> None:
    assert office.sign("anna")
    (bundle,), _ = office.keys().bundles(office.release)
    for number in range(3 * MOST_TAGS):
        put(office, number, wrapped(bundle.text))
    office.registry.calls.clear()
    _, damaged = office.keys().bundles(office.release)
    assert len([verb for verb, _ in office.registry.calls if verb == "read_blob"]) <= MOST_TAGS
    assert f"{2 * MOST_TAGS + 1} more tags like" in damaged[-1]


def test_a_good_signature_that_was_copied_counts_once_and_travels_once(office: Office) -> None:
    assert office.sign("anna")
    (bundle,), _ = office.keys().bundles(office.release)
    copy = json.dumps({"statement": bundle.text, "signatures": [bundle.signatures[0].stored.signature]}).encode()
    for number in range(20):
        put(office, number, copy)
    signed = office.keys().require(office.release)
    assert len(signed.signatures) == 1, "a robot looks at 16"


# ── whose words a signer signs ──


def sign_words(office: Office, name: str, **changes: object) -> Statement:
    """Sign other words than `fleet` would, as somebody with that key can."""
    words = replace(release_statement(office.release, NOW, 90 * DAY), **changes)  # type: ignore[arg-type]
    text = canonical_json(words).decode()
    signature = office.signer.sign(text.encode(), NAMESPACES[words.kind], office.folder / name)
    push_signature(office.registry, PREFIX, text, signature, fingerprint_of(name))
    return words


def second(office: Office) -> tuple[Statement, list[str]]:
    """Let Ben sign as `fleet keys sign` does; return the words that he signed and what was set aside."""
    keys = office.keys()
    mine = release_statement(office.release, NOW, 90 * DAY)
    beside, beyond = keys.within(keys.bundles(office.release)[0], mine)
    bundle = keys.sign(mine, beside, keys.key(office.folder / "ben"))
    assert bundle is not None
    return bundle.statement, beyond


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"expires_at": NOW + 36500 * DAY}, None),
        ({"expires_at": NOW + 200 * DAY}, "they last until"),
        ({"issued_at": NOW - 200 * DAY}, "they were made for 290.0 days, yours would be for 90.0"),
        ({"issued_at": NOW + 3 * DAY, "expires_at": NOW + 80 * DAY}, "they were written at"),
        ({"robots": ("r0",)}, "they are for r0 too"),
        ({"reason": "x" * 501}, "their reason is not a line"),
        ({"reason": "\x1b]52;c;x\x07"}, "their reason is not a line"),
    ],
)
def test_words_beyond_one_s_own_are_not_signed(office: Office, changes: dict[str, object], says: str | None) -> None:
    theirs = sign_words(office, "anna", **changes)
    signed, beyond = second(office)
    assert signed != theirs
    assert signed.expires_at == NOW + 90 * DAY
    if says is None:  # nobody's robots would take these, so they do not count at all
        (bundle,) = [each for each in office.keys().bundles(office.release)[0] if each.statement == theirs]
        assert "robots accept 365.0 at most" in bundle.signatures[0].problem
    else:
        assert says in beyond[0]


def test_words_with_something_unknown_in_them_are_not_signed(office: Office) -> None:
    text = (
        canonical_json(release_statement(office.release, NOW, 90 * DAY)).decode().replace("{", '{"all_robots":true,', 1)
    )
    signature = office.signer.sign(text.encode(), NAMESPACES[RELEASE], office.folder / "anna")
    push_signature(office.registry, PREFIX, text, signature, fingerprint_of("anna"))
    _, beyond = second(office)
    assert "they have a field that this version of fleet does not know" in beyond[0]


def test_the_first_signer_signs_again_with_those_who_wrote_within_bounds(office: Office) -> None:
    office.trust = replace(office.trust, threshold=2)
    sign_words(office, "anna", expires_at=NOW + 200 * DAY)
    signed, _ = second(office)
    assert office.sign("anna")
    found = office.keys().require(office.release)
    assert len(found.signatures) == 2
    assert from_json(Statement, found.statement) == signed


def test_counted_is_what_enough_people_signed_be_it_long_ago(office: Office) -> None:
    office.trust = replace(office.trust, threshold=2)
    assert office.sign("anna")
    assert not office.keys().counted(office.release)
    assert office.sign("ben")
    assert office.keys().counted(office.release)
    assert office.keys(NOW + 200 * DAY).counted(office.release), "only time ran out"
    other = self_made(office)
    assert not office.keys().counted(other)


def self_made(office: Office) -> PublishedRelease:
    """Return the same version with another document, as somebody may put it under the tag."""
    return as_published(replace(office.release.document, compose={"robot.compose.yaml": "services: {evil: {}}"}))
