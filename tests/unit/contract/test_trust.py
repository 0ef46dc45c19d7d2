"""Who signed: counted by people and by keys, the same on both sides of an order."""

from __future__ import annotations

import pytest

from runtime.contract.codec import canonical_json, digest_of
from runtime.contract.robot.trust import SignatureFacts, distinct_signers, document_digest, why_too_few
from runtime.contract.versions import version_order


def by(key: str, *people: str, **changes: bool) -> SignatureFacts:
    return SignatureFacts(f"SHA256:{key}", people, **changes)


@pytest.mark.parametrize(
    ("facts", "people"),
    [
        ([], ()),
        ([by("a", "anna")], ("anna",)),
        ([by("a", "anna"), by("b", "ben")], ("anna", "ben")),
        ([by("a", "anna"), by("a", "anna")], ("anna",)),  # one signature twice
        ([by("a", "anna"), by("a", "ben")], ("anna",)),  # one key under two names
        ([by("a", "anna"), by("b", "anna")], ("anna",)),  # two keys of one person
        ([by("a", "anna", "ben"), by("b", "anna")], ("anna", "ben")),  # a: ben, so that b can be anna
        ([by("a", "anna", "ben"), by("b", "anna", "ben"), by("c", "ben")], ("anna", "ben")),
        ([by("a", "anna", revoked=True)], ()),
        ([SignatureFacts("", ("anna",))], ()),
        ([SignatureFacts("SHA256:a")], ()),
    ],
)
def test_people_and_keys_are_distinct(facts: list[SignatureFacts], people: tuple[str, ...]) -> None:
    assert distinct_signers(facts) == people


def test_too_few_says_who_did_and_why_others_do_not_count() -> None:
    facts = [by("a", "anna"), SignatureFacts("SHA256:x", problem="SHA256:x is not an allowed signer")]
    assert why_too_few(facts, 1) == ""
    assert why_too_few(facts, 2) == (
        "signed by 1 of 2 allowed signers that are needed (anna); SHA256:x is not an allowed signer"
    )
    assert why_too_few([], 1) == "signed by 0 of 1 allowed signers that are needed"


def test_a_document_s_digest_is_that_of_its_canonical_json() -> None:
    document = {"fleet": "größe", "n": 1}
    assert document_digest(canonical_json(document).decode("utf-8")) == digest_of(document)


def test_a_version_that_is_none_is_an_error() -> None:
    assert version_order("1.10.0") > version_order("1.9.0")
    with pytest.raises(ValueError, match="'one' is not a version"):
        version_order("one")
