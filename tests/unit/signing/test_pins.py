"""The host keys of a fleet's robots: pinned, retired, signed by enough people, and one key is one robot."""

from __future__ import annotations

import base64
import dataclasses
from pathlib import Path

import pytest

from fleet.errors import UsageError
from fleet.signing.pins import fingerprint_of, plain_key, publish_pins, read_pins, with_key, without, words_for
from tests.unit.manifest.test_trust import ANNA as KEY
from tests.unit.manifest.test_trust import BEN as OTHER
from tests.unit.signing.test_desired import NOW, Desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_robot_is_pinned_retired_and_pinned_again_with_another_key(desk: Desk) -> None:
    none = read_pins(desk.office)
    assert (none.pins.generation, none.problem) == (0, "no robot is pinned yet")
    publish_pins(desk.office, with_key(none.pins, "amr-1", f"{KEY} root@amr-1", NOW), desk.key("anna"))
    pins = read_pins(desk.office).pins
    assert pins.robots == {"amr-1": KEY}
    assert with_key(pins, "amr-1", KEY, NOW + 9) == pins, "the same again is the same"
    publish_pins(desk.office, without(pins, "amr-1", NOW + 10), desk.key("anna"))
    gone = read_pins(desk.office).pins
    assert (gone.robots, gone.retired) == ({}, ("amr-1",))
    assert gone.generation > pins.generation
    publish_pins(desk.office, with_key(gone, "amr-1", OTHER, NOW + 20), desk.key("anna"))
    back = read_pins(desk.office).pins
    assert (back.robots, back.retired) == ({"amr-1": OTHER}, ())


def test_two_robots_never_share_a_key(desk: Desk) -> None:
    pins = with_key(read_pins(desk.office).pins, "amr-1", KEY, NOW)
    with pytest.raises(UsageError, match="amr-2 has the host key of amr-1"):
        with_key(pins, "amr-2", KEY, NOW)


def test_retiring_a_robot_that_was_never_there_is_said(desk: Desk) -> None:
    with pytest.raises(UsageError, match="amr-9 is not pinned"):
        without(read_pins(desk.office).pins, "amr-9", NOW)


@pytest.mark.parametrize("key", ["", "ssh-ed25519", "ssh-ed25519 AAAA", f"ssh-rsa {KEY.split()[1]}", "x !!!"])
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(UsageError, match="is not a public key"):
        plain_key(key)


def test_a_fingerprint_is_as_openssh_prints_it() -> None:
    assert fingerprint_of(KEY).startswith("SHA256:")
    assert len(fingerprint_of(KEY)) == len("SHA256:") + 43


def test_who_may_not_sign_pins_pins_nothing(desk: Desk) -> None:
    pins = with_key(read_pins(desk.office).pins, "amr-1", KEY, NOW)
    for name in ("eve", "carl"):
        with pytest.raises(UsageError, match="may not sign the pinned host keys"):
            publish_pins(desk.office, pins, desk.key(name))
    assert read_pins(desk.office).pins.robots == {}


def test_pins_wait_for_the_second_signer_who_signs_the_same_words(tmp_path: Path) -> None:
    desk = Desk(tmp_path, threshold=2)
    first = publish_pins(desk.office, with_key(read_pins(desk.office).pins, "amr-1", KEY, NOW), desk.key("anna"))
    assert "1 of 2" in first.missing
    waiting = read_pins(desk.office)
    assert (waiting.pins.robots, waiting.missing) == ({}, first.missing)
    words = words_for(waiting, with_key(waiting.pins, "amr-1", KEY, NOW + 60))
    assert publish_pins(desk.office, words, desk.key("ben")).missing == ""
    assert read_pins(desk.office).pins.robots == {"amr-1": KEY}


def test_junk_under_the_tag_counts_as_nothing(desk: Desk) -> None:
    pins = with_key(read_pins(desk.office).pins, "amr-1", KEY, NOW)
    publish_pins(desk.office, pins, desk.key("anna"))
    found = desk.registry.get_manifest("shop/desired", "pins")
    assert found is not None
    forged = found.body.replace(b"vnd.jetfleet.pins", b"vnd.jetfleet.pans")
    desk.registry.put_manifest("shop/desired", "pins", forged, "application/vnd.oci.image.manifest.v1+json")
    standing = read_pins(desk.office)
    assert standing.pins.robots == {}
    assert "something else was pushed there" in standing.problem


def test_the_pins_of_ten_thousand_robots_are_read_back(desk: Desk) -> None:
    blob = base64.b64decode(KEY.split()[1])
    keys = {
        f"robot-{number:05}": "ssh-ed25519 " + base64.b64encode(blob[:-4] + number.to_bytes(4, "big")).decode()
        for number in range(10_000)
    }
    pins = dataclasses.replace(read_pins(desk.office).pins, generation=1, robots=keys)
    publish_pins(desk.office, pins, desk.key("anna"))
    assert read_pins(desk.office).pins.robots == keys
