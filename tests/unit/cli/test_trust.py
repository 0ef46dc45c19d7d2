"""Signing from the command line: publish, keys, rollout and rollback of a signed fleet."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fleet.cli import trust_root
from fleet.cli.desired import office as desired_office
from fleet.cli.wiring import Wiring
from fleet.manifest import load
from fleet.oci.releases import load_release
from fleet.signing.desired import first_words, publish, read_desired, sign_plan
from runtime.contract.codec import canonical_json, from_json
from runtime.contract.robot.trust import Proof, Statement, document_digest
from tests.fakes.signer import FakeSigner, fingerprint_of
from tests.unit.cli.conftest import PREFIX, Desk
from tests.unit.manifest.test_trust import ANNA as ANNA_KEY
from tests.unit.manifest.test_trust import BEN as BEN_KEY
from tests.unit.signing.test_desired import NOW, PROOF, rollout

DAY = 86400.0


class Signed:
    """A desk whose fleet is signed by Anna; Ben may sign too, Eve may not."""

    def __init__(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        self.desk = desk
        self.signer = FakeSigner()
        self.keys = desk.folder.parent / "keys"
        self.keys.mkdir()
        for name in ("anna", "ben", "eve"):
            (self.keys / name).write_text("a key")
        (desk.folder / "allowed_signers").write_text("anna@x anna\nben@x ben\n")
        (desk.folder / "revoked_keys").write_text("")
        monkeypatch.setattr(Wiring, "signer", self.signer)
        # The fake signer's lines are names; that real lines are read is shown in tests/unit/manifest/test_trust.py.
        monkeypatch.setattr(load, "check_trust", lambda *_: None)
        self.trust: dict[str, Any] = {
            "signers": "allowed_signers",
            "sign_with": str(self.keys / "anna"),
            "revoked": "revoked_keys",
        }

    def publish(self, version: str, **trust: Any) -> Any:
        self.trust = {key: value for key, value in {**self.trust, **trust}.items() if value is not None}
        self.version(version)
        self.desk.build()
        return self.desk.json("publish")

    def version(self, version: str) -> None:
        self.desk.set_version(version, trust=self.trust)

    def json(self, *arguments: str) -> Any:
        return self.desk.fleet(*arguments, "--json").json

    def error(self, *arguments: str, code: int) -> str:
        """Run what must fail without writing to the registry; return its sentence."""
        before = self.desk.registry.snapshot()
        error = self.desk.fleet(*arguments, "--json", code=code).json["error"]
        assert error["hint"]
        assert self.desk.registry.snapshot() == before
        message: str = error["message"]
        return message

    def key(self, name: str) -> str:
        return str(self.keys / name)

    def second(self) -> None:
        """Have Ben sign what Anna published."""
        digest = load_release(self.desk.registry, PREFIX, self.desk.desired.version).text
        self.desk.fleet("keys", "sign", "--key", self.key("ben"), "--yes", "--digest", document_digest(digest))

    def proof(self, robot: str = "amr-001") -> Proof:
        proof = self.desk.updaters[robot].submitted[-1].proof
        assert proof is not None
        return proof


@pytest.fixture
def signed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Signed:
    return Signed(desk, monkeypatch)


def test_publish_signs_and_rollout_brings_the_proof(signed: Signed) -> None:
    published = signed.publish("1.0.0")
    assert (published["signed_by"], published["missing"], published["unsigned"]) == (["anna@x"], None, False)
    signed.desk.bootstrapped()
    signed.desk.fleet("rollout", "--yes")
    proof = signed.proof()
    statement = from_json(Statement, proof.release.statement)
    assert statement.document == document_digest(proof.document)
    assert (statement.version, statement.expires_at - statement.issued_at) == ("1.0.0", 90 * DAY)
    assert proof.rollback is None
    assert len({canonical_json(signed.proof(name)) for name in signed.desk.updaters}) == 1


def test_publishing_again_signs_nothing_new(signed: Signed) -> None:
    signed.publish("1.0.0")
    before = signed.desk.registry.snapshot()
    assert signed.json("publish")["already_published"]
    assert signed.desk.registry.snapshot() == before
    assert "signed by anna@x" in signed.desk.fleet("publish").out


def test_publish_without_a_key_says_what_is_missing(signed: Signed) -> None:
    published = signed.publish("1.0.0", sign_with=None)
    assert published["signed_by"] == []
    assert "by 0 of 1" in published["missing"]
    assert "not signed yet: run fleet keys sign 1.0.0" in " ".join(signed.desk.fleet("publish").out.split())


def test_a_key_that_is_not_there_stops_publish_before_anything_is_written(signed: Signed) -> None:
    signed.trust["sign_with"] = signed.key("nobody")
    signed.version("1.0.0")
    signed.desk.build()
    assert "nobody does not exist" in signed.error("publish", code=2)


def test_an_unsigned_release_is_not_rolled_out(signed: Signed) -> None:
    signed.publish("1.0.0", sign_with=None)
    signed.desk.bootstrapped()
    said = signed.error("rollout", "--yes", code=4)
    assert "release 1.0.0 is signed by 0 of 1 allowed signers that are needed" in said
    assert all(host.connections == 0 for host in signed.desk.hosts.values()), "no robot was touched"


def test_two_signers(signed: Signed) -> None:
    published = signed.publish("1.0.0", threshold=2)
    assert "by 1 of 2" in published["missing"]
    assert "by 1 of 2" in signed.error("keys", "verify", code=4)
    assert "(anna@x)" in signed.error("rollout", "--yes", code=4)
    command = ("keys", "sign", "1.0.0", "--key", signed.key("ben"))
    assert "there is no terminal to ask on" in signed.error(*command, code=2)
    second = signed.json(*command, "--digest", published["document"])
    assert (second["signed_by"], second["missing"], second["key"]) == (["anna@x", "ben@x"], None, fingerprint_of("ben"))
    verified = signed.json("keys", "verify", "1.0.0")
    assert [
        (row["principals"], row["counts"]) for row in sorted(verified["signatures"], key=lambda row: row["principals"])
    ] == [
        (["anna@x"], True),
        (["ben@x"], True),
    ]
    signed.desk.bootstrapped()
    signed.desk.fleet("rollout", "--yes")
    assert len(signed.proof().release.signatures) == 2


def test_a_key_that_is_not_allowed_signs_nothing(signed: Signed) -> None:
    digest = signed.publish("1.0.0", sign_with=None)["document"]
    said = signed.error("keys", "sign", "--key", signed.key("eve"), "--digest", digest, code=2)
    assert "is not an allowed signer" in said


def test_keys_sign_without_a_key_says_how(signed: Signed) -> None:
    signed.publish("1.0.0", sign_with=None)
    assert signed.error("keys", "sign", code=2) == "no key to sign with"


def test_an_expired_release_is_signed_again(signed: Signed) -> None:
    signed.publish("1.0.0", expires="12h")
    signed.desk.bootstrapped()
    signed.desk.clock.sleep(DAY)
    assert "it expired at" in signed.error("rollout", "--yes", code=4)
    assert "it expired at" in signed.desk.fleet("keys", "verify", code=4).out.replace("\n", " ")
    assert signed.json("keys", "sign")["signed_by"] == ["anna@x"]
    signed.desk.fleet("rollout", "--yes")


def test_renewing_lengthens_a_signature(signed: Signed) -> None:
    signed.publish("1.0.0")
    (first,) = signed.json("keys", "verify")["signatures"]
    signed.desk.clock.sleep(DAY)
    signed.desk.fleet("keys", "sign", "--renew")
    (second,) = signed.json("keys", "verify")["signatures"]
    assert second["expires_at"] - first["expires_at"] == DAY


def test_a_revoked_key_is_told_with_its_name(signed: Signed) -> None:
    signed.publish("1.0.0")
    (signed.desk.folder / "revoked_keys").write_text("anna")
    assert "of anna@x is revoked" in signed.error("rollout", "--yes", code=4)


def two_versions(signed: Signed, **trust: Any) -> None:
    signed.publish("1.0.0", **trust)
    signed.desk.bootstrapped()
    signed.desk.fleet("rollout", "--yes")
    signed.publish("1.1.0")
    signed.desk.fleet("rollout", "--yes")


def test_going_back_signs_a_rollback_order(signed: Signed) -> None:
    two_versions(signed)
    signed.desk.fleet("rollback", "--yes")
    proof = signed.proof()
    assert proof.rollback is not None
    order = from_json(Statement, proof.rollback.statement)
    assert (order.kind, order.version, order.robots) == ("rollback", "1.0.0", ("*",))
    assert order.document == document_digest(proof.document)
    assert order.expires_at - order.issued_at == DAY


def test_going_back_with_some_robots_names_them(signed: Signed) -> None:
    two_versions(signed)
    signed.desk.fleet("rollback", "1.0.0", "--yes", "--robots", "amr-*")
    proof = signed.proof()
    assert proof.rollback is not None
    assert from_json(Statement, proof.rollback.statement).robots == ("amr-001", "amr-002")


def test_every_rollback_is_an_order_of_its_own(signed: Signed) -> None:
    two_versions(signed)
    signed.desk.fleet("rollback", "1.0.0", "--yes")
    first = signed.proof().rollback
    signed.desk.fleet("rollout", "1.1.0", "--yes")
    signed.desk.clock.sleep(60.0)
    signed.desk.fleet("rollback", "1.0.0", "--yes")
    assert signed.proof().rollback != first


def test_going_back_needs_the_key(signed: Signed) -> None:
    two_versions(signed)
    signed.trust.pop("sign_with")
    signed.version("1.1.0")
    assert signed.error("rollback", "1.0.0", "--yes", code=2) == "no key to sign with"


def test_going_back_with_two_signers_waits_for_the_second(signed: Signed) -> None:
    signed.publish("1.0.0", threshold=2)
    signed.second()
    signed.desk.bootstrapped()
    signed.desk.fleet("rollout", "--yes")
    signed.publish("1.1.0")
    signed.second()
    signed.desk.fleet("rollout", "--yes")
    result = signed.desk.fleet("rollback", "1.0.0", "--yes", "--json", code=4)
    assert "the rollback order for 1.0.0 is signed by 1 of 2" in result.json["error"]["message"]
    assert "fleet rollback 1.0.0" in result.json["error"]["hint"]
    assert signed.proof().rollback is None, "no robot was told"
    signed.trust["sign_with"] = signed.key("ben")
    signed.version("1.1.0")
    signed.desk.fleet("rollback", "1.0.0", "--yes")
    order = signed.proof().rollback
    assert order is not None
    assert len(order.signatures) == 2
    assert {updater.state.current.version for updater in signed.desk.updaters.values() if updater.state.current} == {
        "1.0.0"
    }


def test_keys_are_listed(signed: Signed, monkeypatch: pytest.MonkeyPatch) -> None:
    (signed.desk.folder / "allowed_signers").write_text(
        f'anna@x {ANNA_KEY}\n*@x cert-authority {BEN_KEY}\ngit@x namespaces="git" {BEN_KEY}\n'
    )
    signed.version("1.0.0")
    listed = signed.json("keys", "list")
    assert (listed["threshold"], listed["expires_days"], listed["unsigned"]) == (1, 90.0, False)
    assert [(each["principals"], each["authority"]) for each in listed["signers"]] == [
        (["anna@x"], False),
        (["*@x"], True),
    ]
    assert listed["signers"][0]["key"].startswith("SHA256:")
    assert "a signature lasts 90 days" in signed.desk.fleet("keys", "list").out


def test_an_unsigned_fleet_says_so_everywhere(desk: Desk) -> None:
    desk.running()
    assert "unsigned" in desk.fleet("publish").out
    assert "unsigned" in desk.fleet("keys", "list").out
    assert desk.fleet("keys", "list", "--json").json["unsigned"]
    assert desk.fleet("keys", "verify", "--json").json["unsigned"]
    said = desk.fleet("keys", "sign", "--json", code=2).json["error"]
    assert "this fleet is unsigned" in said["message"]
    assert "docs/trust.md" in said["hint"]
    assert desk.updaters["amr-001"].submitted[-1].proof is None


def test_status_shows_who_signed_or_that_nobody_had_to(signed: Signed) -> None:
    signed.publish("1.0.0")
    signed.desk.bootstrapped()
    signed.desk.fleet("rollout", "--yes")
    for name, changes in {
        "amr-001": {"signed_by": ("anna@x",)},
        "amr-002": {"unsigned": True},
        "scout-001": {},
    }.items():
        signed.desk.updaters[name].state = replace(signed.desk.updaters[name].state, **changes)  # type: ignore[arg-type]
    rows = {row["name"]: row for row in signed.json("status")["robots"]}
    assert (rows["amr-001"]["signed_by"], rows["amr-001"]["unsigned"]) == (["anna@x"], False)
    assert rows["amr-002"]["unsigned"] is True
    shown = signed.desk.fleet("status").out
    assert "anna@x" in shown
    assert "unsigned" in shown
    assert "nobody" in shown


# ── the trust root ──


def test_no_robot_is_brought_a_root_that_is_not_signed(signed: Signed) -> None:
    signed.version("1.0.0")
    signed.desk.bootstrapped()
    for verb in (("bootstrap",), ("keys", "push")):
        said = signed.error(*verb, code=4)
        assert "the fleet has no trust root yet, root 1 is signed by 0 of 1" in said
    assert all(host.connections == 0 for host in signed.desk.hosts.values()), "no robot was touched"


def test_validate_notes_a_root_that_is_missing_or_another_one(signed: Signed) -> None:
    """A signed fleet without a signed root is found out before the first bootstrap refuses."""
    signed.version("1.0.0")
    (note,) = (each for each in signed.json("validate")["notes"] if each.startswith("trust:"))
    assert "the fleet has no trust root yet, root 1 is signed by 0 of 1" in note
    assert "fleet bootstrap and fleet keys push refuse: run fleet keys root --sign" in note
    signed.desk.fleet("keys", "root", "--sign", "--yes")
    assert not any(each.startswith("trust:") for each in signed.json("validate")["notes"])
    signed.trust["threshold"] = 2
    signed.version("1.0.0")
    (note,) = (each for each in signed.json("validate")["notes"] if each.startswith("trust:"))
    assert "the fleet has root 1, root 2 is signed by 0 of" in note
    (signed.desk.folder / "root" / "1.root.json").write_text("{}")
    assert "trust:" in signed.desk.fleet("validate").out


def test_validate_says_nothing_of_roots_in_an_unsigned_fleet(desk: Desk) -> None:
    assert not any(each.startswith("trust:") for each in desk.json("validate")["notes"])


def test_a_root_is_signed_shown_and_pushed(signed: Signed) -> None:
    signed.version("1.0.0")
    shown = signed.desk.fleet("keys", "root", "--json", code=4).json
    assert (shown["root"], shown["next"], shown["signed"]) == (None, 1, [])
    assert "--yes is for" not in signed.desk.fleet("keys", "root", "--sign", "--yes").out
    whole = signed.json("keys", "root")
    assert (whole["root"], whole["missing"], whole["updater_missing"]) == (1, None, None)
    assert sorted(path.suffix for path in (signed.desk.folder / "root").iterdir()) == [".json", ".json", ".sig", ".sig"]
    assert "the manifest's trust is this root" in " ".join(signed.desk.fleet("keys", "root").out.split())
    signed.desk.bootstrapped()
    signed.desk.hosts["scout-001"].online = False
    pushed = signed.desk.fleet("keys", "push", "--json", code=6).json
    assert [(row["name"], row["changed"]) for row in pushed["robots"]] == [
        ("amr-001", True),
        ("amr-002", True),
        ("scout-001", False),
    ]
    assert signed.desk.updaters["amr-001"].state.root_version == 1
    assert "nothing to do" in signed.desk.fleet("keys", "push", "--robots", "amr-001").out


def test_the_next_root_is_shown_and_signed_by_digest(signed: Signed) -> None:
    signed.version("1.0.0")
    signed.desk.fleet("keys", "root", "--sign", "--yes")
    (signed.desk.folder / "revoked_keys").write_text("ben")
    shown = signed.desk.fleet("keys", "root", "--json", code=4).json
    assert (shown["root"], shown["next"]) == (1, 2)
    assert "+revoked" in signed.desk.fleet("keys", "root", code=4).out
    assert "--yes is for a fleet's first root" in signed.error("keys", "root", "--sign", "--yes", code=2)
    assert "there is no terminal to ask at" in signed.error("keys", "root", "--sign", code=2)
    assert "expected is sha256:00" in signed.error("keys", "root", "--sign", "--digest", "sha256:00", code=4)
    assert signed.json("keys", "root", "--sign", "--digest", shown["digest"])["root"] == 2


def test_nothing_is_published_or_rolled_out_by_other_signers_than_the_root_s(signed: Signed) -> None:
    signed.publish("1.0.0")
    signed.desk.fleet("keys", "root", "--sign", "--yes")
    signed.desk.bootstrapped()
    (signed.desk.folder / "allowed_signers").write_text("anna@x anna\neve@x eve\n")
    for verb in (("publish",), ("rollout", "--yes"), ("keys", "verify"), ("keys", "sign")):
        assert "the manifest's trust is not signed: the fleet has root 1" in signed.error(*verb, code=4)


def test_an_updater_that_is_not_signed_goes_to_no_robot(signed: Signed, monkeypatch: pytest.MonkeyPatch) -> None:
    signed.version("1.0.0")
    signed.desk.fleet("keys", "root", "--sign", "--yes")
    signed.desk.installable()
    monkeypatch.setattr(trust_root, "updater_version", lambda: "9.9.9+abc")
    assert "the updater 9.9.9+abc is not signed" in signed.error("bootstrap", code=4)
    assert all(host.connections == 0 for host in signed.desk.hosts.values())


def test_bootstrap_brings_root_and_the_updater_s_statement(signed: Signed) -> None:
    signed.version("1.0.0")
    signed.desk.fleet("keys", "root", "--sign", "--yes")
    signed.desk.installable()
    ready = signed.json("bootstrap")["robots"]
    assert all("the first trust root" in " ".join(robot["notes"]) for robot in ready)
    for updater in signed.desk.updaters.values():
        assert updater.state.root_version == 1
        (brought,) = updater.brought
        statement = from_json(Statement, brought["signed"]["statement"])
        assert (statement.kind, statement.fleet) == ("updater", "testing")


def test_an_unsigned_fleet_s_robots_are_told_so(desk: Desk) -> None:
    desk.installable()
    desk.json("bootstrap")
    assert [updater.state.unsigned for updater in desk.updaters.values()] == [True] * 3
    assert desk.fleet("keys", "push", "--json").json["robots"][0]["changed"] is False


def test_a_fleet_that_was_signed_becomes_unsigned_by_its_signers_alone(signed: Signed) -> None:
    signed.version("1.0.0")
    signed.desk.fleet("keys", "root", "--sign", "--yes")
    signed.desk.set_version("1.1.0")
    assert "root 2 is signed by 0 of 1" in signed.error("keys", "push", code=4)
    digest = signed.desk.fleet("keys", "root", "--json", code=4).json["digest"]
    eve = ("keys", "root", "--sign", "--digest", digest, "--key", signed.key("eve"))
    assert "may not sign a root" in signed.error(*eve, code=2)
    signed.desk.fleet("keys", "root", "--sign", "--digest", digest, "--key", signed.key("anna"))
    signed.desk.bootstrapped()
    assert signed.json("keys", "push")["robots"][0]["changed"] is True


# ── the newest release ──


def fresh_fleet(signed: Signed, **trust: Any) -> None:
    """Publish 1.0.0 in a fleet with a signed root, whose robots hold it."""
    signed.publish("1.0.0", **trust)
    signed.desk.fleet("keys", "root", "--sign", "--yes")
    signed.desk.bootstrapped()
    signed.desk.fleet("keys", "push")


def heard(signed: Signed) -> list[str]:
    return [updater.state.newest for updater in signed.desk.updaters.values()]


def test_a_rollout_says_what_is_newest_and_every_contact_brings_it(signed: Signed) -> None:
    fresh_fleet(signed)
    assert "there is none in the registry → fleet keys newest" in signed.desk.fleet("status").err
    signed.desk.fleet("rollout", "--yes")
    assert heard(signed) == ["1.0.0"] * 3
    generation = signed.desk.updaters["amr-001"].state.generation
    verbs = len(signed.desk.updaters["amr-001"].verbs)
    rows = signed.json("status")["robots"]
    assert [(row["newest"], row["stale"], row["root"]) for row in rows] == [("1.0.0", None, 1)] * 3
    assert len(signed.desk.updaters["amr-001"].verbs) == verbs + 1, "what a robot has is not brought again"
    signed.desk.clock.sleep(DAY)
    signed.desk.fleet("keys", "newest")
    signed.desk.fleet("status")
    state = signed.desk.updaters["amr-001"].state
    assert (state.generation, state.newest_until) == (generation, signed.desk.clock.now() + 7 * DAY)
    signed.publish("1.1.0")
    signed.desk.fleet("rollout", "--yes")
    assert heard(signed) == ["1.1.0"] * 3
    signed.desk.fleet("rollback", "--yes")
    assert heard(signed) == ["1.0.0"] * 3
    assert signed.desk.updaters["amr-001"].state.generation > generation + 1


def test_a_statement_that_ran_out_or_that_nobody_signed_is_brought_to_nobody(signed: Signed) -> None:
    fresh_fleet(signed)
    signed.desk.fleet("keys", "newest", "1.0.0")
    signed.desk.clock.sleep(8 * DAY)
    assert "it expired at" in signed.desk.fleet("status").err
    assert heard(signed) == [""] * 3
    registry, tag = signed.desk.registry, "newest"
    registry.put_manifest(f"{PREFIX}/releases", tag, b"{}", "application/vnd.oci.image.manifest.v1+json")
    assert "the statement of the newest release" in signed.desk.fleet("status").err


def test_a_key_that_is_not_of_the_role_says_nothing_and_the_rollout_goes_on(signed: Signed) -> None:
    (signed.desk.folder / "allowed_advance").write_text("carl@x carl\n")
    fresh_fleet(signed, advance="allowed_advance")
    assert "may not say which release is the newest" in signed.error("keys", "newest", "1.0.0", code=2)
    said = " ".join(signed.desk.fleet("rollout", "--yes").err.split())
    assert "not said that 1.0.0 is the newest release" in said
    assert heard(signed) == [""] * 3
    (signed.keys / "carl").write_text("a key")
    signed.version("1.0.0")
    signed.trust["advance_with"] = signed.key("carl")
    signed.version("1.0.0")
    assert signed.json("keys", "newest", "1.0.0")["version"] == "1.0.0"


def test_a_registry_that_shows_an_older_one_than_a_robot_has_seen_is_told(signed: Signed) -> None:
    fresh_fleet(signed)
    signed.desk.fleet("keys", "newest", "1.0.0")
    updater = signed.desk.updaters["amr-001"]
    updater.state = replace(updater.state, generation=2**40, newest="1.9.0")
    row = signed.json("status")["robots"][0]
    assert "it has seen generation 1099511627776 of 1.9.0" in row["stale"]
    assert "stale:" in signed.desk.fleet("status").out


def test_a_fleet_that_wants_none_says_none(signed: Signed) -> None:
    fresh_fleet(signed, newest="none")
    signed.desk.fleet("rollout", "--yes")
    assert heard(signed) == [""] * 3
    assert "does not say which release is the newest" in signed.error("keys", "newest", code=2)


def test_a_robot_without_a_signed_root_is_shown_so(signed: Signed) -> None:
    signed.publish("1.0.0")
    signed.desk.bootstrapped()
    assert "no signed trust root yet: fleet bootstrap" in " ".join(signed.desk.fleet("status").out.split())


def test_what_robots_that_pull_follow_is_signed_again_with_the_newest_release(signed: Signed) -> None:
    pulls = {"hub": {"url": "https://hub.test"}, "defaults": {"link": "pull"}}
    signed.publish("1.0.0")
    signed.desk.fleet("keys", "root", "--sign", "--yes")
    signed.desk.set_version("1.0.0", trust=signed.trust, **pulls)
    assert "not renewed: there is none in the registry" in signed.json("keys", "newest", "1.0.0")["desired"]
    office = desired_office(Wiring(signed.desk.folder))
    plan, now = rollout("r-1", fleet="testing", expires_at=NOW + 90 * DAY), signed.desk.clock.now()
    both, _ = sign_plan(office, plan, signed.keys / "anna")
    words = first_words(read_desired(office, now), plan, both.statement, now, DAY)
    publish(office, words, both, PROOF, signed.keys / "anna")
    signed.desk.clock.sleep(2 * DAY)
    assert not read_desired(office, signed.desk.clock.now()).counts
    assert "the desired statement of rollout r-1 counts until" in signed.desk.fleet("keys", "newest").out
    found = read_desired(office, signed.desk.clock.now())
    assert found.counts
    assert found.followed is not None
    assert found.followed.desired.generation == words.generation
