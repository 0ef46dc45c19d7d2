"""Envelopes as the DSSE specification writes them."""

from __future__ import annotations

import base64
import json

import pytest

from fleet.signing.dsse import IN_TOTO, opened, pae, sealed


def test_what_is_signed_is_the_specification_s_encoding() -> None:
    """The example of the DSSE protocol's page."""
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert pae("größe", b"") == "DSSEv1 7 größe 0 ".encode()


def test_type_and_payload_cannot_be_moved_into_one_another() -> None:
    assert pae("a 1 b", b"c") != pae("a", b"b 1 c")
    assert pae("a", b"") != pae("", b"a")


def test_an_envelope_comes_back() -> None:
    envelope = sealed(b"{}", "-----BEGIN SSH SIGNATURE-----\n", "SHA256:abc")
    assert opened(envelope) == (b"{}", ("-----BEGIN SSH SIGNATURE-----\n",))
    document = json.loads(envelope)
    assert document["payloadType"] == IN_TOTO
    assert base64.b64decode(document["payload"]) == b"{}"
    assert document["signatures"][0]["keyid"] == "SHA256:abc"


GOOD = {"payload": "e30=", "payloadType": IN_TOTO, "signatures": [{"sig": "eA=="}]}


@pytest.mark.parametrize(
    "changes",
    [
        {"payload": "e30"},
        {"payload": "e3 0="},
        {"payload": 1},
        {"payloadType": "application/json"},
        {"signatures": [{}]},
        {"signatures": [{"sig": "!"}]},
        {"signatures": [{"sig": "/w=="}]},
        {"signatures": None},
    ],
)
def test_what_is_no_envelope_of_ours_is_refused(changes: dict[str, object]) -> None:
    assert opened(json.dumps(GOOD).encode()) == (b"{}", ("x",))
    with pytest.raises(ValueError, match=r"\w"):
        opened(json.dumps({**GOOD, **changes}).encode())
