"""What may be believed before it is signed: swapped engines, base images and releases, with real SSH keys."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleet.adapters.ssh.ssh_signer import SshSigner
from fleet.cli.provenance import attests_engine
from fleet.oci.image_spec import MANIFEST, Bytes, Descriptor, manifest_bytes
from fleet.oci.releases import load_release, release_artifact, releases_of
from fleet.plan.diff import runtime_recipes
from fleet.publish.artifact import push_engine
from fleet.publish.base import upload_base
from fleet.resolve.desired import EngineSpec
from fleet.signing.signatures import SIGNATURE_TYPE, push_signature, release_statement, rollback_statement
from runtime.contract.codec import canonical_json, from_json
from runtime.contract.robot.trust import Statement, document_digest
from tests.fakes.registries.publishing import docker_archive, engine_folder, image_config, tar_of
from tests.unit.cli.conftest import PREFIX, Desk

EVIL = {"opt/jetfleet/lib/runtime/__init__.py": b"import os\n", "etc/passwd": b"root::0:0::/:/bin/sh\n"}
ENGINES, BASES = f"{PREFIX}/engines", f"{PREFIX}/bases"
DAY = 86400.0


def keygen(path: Path) -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True, timeout=30)
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])


class Signed:
    """A desk whose releases Anna and Ben may sign, with an engine and a base image that a builder attests."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.keys = desk.folder.parent / "keys"
        self.keys.mkdir()
        lines = [
            f'{name}@x namespaces="jetfleet.release,jetfleet.rollback" {keygen(self.keys / name)}\n'
            for name in ("anna", "ben")
        ]
        (desk.folder / "allowed_signers").write_text("".join(lines))
        keygen(self.keys / "eve")
        self.trust: dict[str, Any] = {"signers": "allowed_signers", "sign_with": str(self.keys / "anna")}
        self.version("1.0.0")
        desk.build()

    def version(self, version: str, **trust: Any) -> None:
        self.trust |= trust
        self.desk.set_version(version, trust=self.trust)

    def refused(self, *command: str, code: int = 4) -> str:
        """Run what must not write anything to the registry; return its sentence."""
        before = self.desk.registry.snapshot()
        error = self.desk.fleet(*command, "--json", code=code).json["error"]
        assert error["hint"]
        assert self.desk.registry.snapshot() == before
        message: str = error["message"]
        return message

    def json(self, *command: str, code: int = 0) -> Any:
        return self.desk.fleet(*command, "--json", code=code).json

    @property
    def spec(self) -> EngineSpec:
        return next(iter(self.desk.desired.engines.values()))

    def swap_layer(self, content: bytes) -> str:
        """Put another layer under an engine's key; annotations and report stay. Return the manifest's digest."""
        registry, tag = self.desk.registry, self.spec.tag
        evil = Bytes.of(content)
        registry.push_blob(ENGINES, evil)
        found = registry.get_manifest(ENGINES, tag)
        assert found is not None
        body = json.loads(found.body)
        body["layers"][0].update(digest=evil.digest, size=evil.size)
        return registry.put_manifest(ENGINES, tag, canonical_json(body), MANIFEST)

    def swap_base(self) -> str:
        """Push another base image under the tag of the manifest's."""
        (recipe,) = runtime_recipes(self.desk.desired)
        layers = [tar_of({"opt/jetfleet/lib/runtime.py": b"backdoor"})]
        archive = docker_archive(layers, image_config(layers, config={"Entrypoint": ["sh", "-c", "evil"]}))
        return upload_base(self.desk.registry, BASES, recipe.tag, [archive])

    def swap_release(self, version: str = "1.0.0") -> None:
        """Put another document under a version's tag: a compose file that gives the host away."""
        registry = self.desk.registry
        document = load_release(registry, PREFIX, version).document
        compose = {
            name: text.replace("services:", "# docker.sock\nservices:") for name, text in document.compose.items()
        }
        blob, manifest = release_artifact(replace(document, compose=compose))
        registry.push_blob(releases_of(PREFIX), blob)
        registry.put_manifest(releases_of(PREFIX), version, manifest.content, MANIFEST)

    def copy_attestations(self, repository: str, to: str) -> None:
        """Give an artifact the attestations of every other one, under tags of its own."""
        registry = self.desk.registry
        for tag in registry.tags(repository):
            if tag.startswith("att-"):
                found = registry.get_manifest(repository, tag)
                assert found is not None
                moved = f"att-{to.removeprefix('sha256:')}-{tag[-12:]}"
                registry.put_manifest(repository, moved, found.body, MANIFEST)


@pytest.fixture
def signed(desk: Desk) -> Signed:
    return Signed(desk)


# ── provenance before signature ──


def test_publish_says_who_attests(signed: Signed) -> None:
    published = signed.desk.json("publish")
    assert (published["attested_by"], published["signed_by"]) == (["builder@x"], ["anna@x"])
    assert "engines and base images attested by builder@x" in signed.desk.fleet("publish").out


def test_an_unsigned_fleet_says_that_nobody_attests(desk: Desk) -> None:
    desk.publish()
    assert "unsigned: no builder attests" in desk.fleet("publish").out
    assert desk.json("publish")["attested_by"] == []
    assert not [tag for tag in desk.registry.tags(ENGINES) if tag.startswith("att-")]


def test_a_swapped_engine_is_not_signed(signed: Signed) -> None:
    digest = signed.swap_layer(tar_of(EVIL))
    said = signed.refused("publish")
    assert "not attested by a builder: engine detector fp" in said  # which of them is first is the keys' order
    assert f"for sim-x86: {digest} has no attestation" in said


def test_a_swapped_base_image_is_not_signed(signed: Signed) -> None:
    digest = signed.swap_base()
    said = signed.refused("publish")
    assert "not attested by a builder: base image runtime-sim-x86-" in said
    assert digest in said


@pytest.mark.parametrize("what", ["engine", "base"])
def test_an_attestation_of_something_else_is_no_use(signed: Signed, what: str) -> None:
    repository = ENGINES if what == "engine" else BASES
    signed.copy_attestations(repository, signed.swap_layer(tar_of(EVIL)) if what == "engine" else signed.swap_base())
    said = signed.refused("publish")
    # Of several engines' attestations one stays under the tag, by the order of digests.
    assert "the attestation of builder@x is about something else: its " in said


def test_one_engine_attested_is_not_another(signed: Signed) -> None:
    """The artifact of one key under the tag of another: what was attested is not what is asked for."""
    first, second = signed.desk.desired.engines.values()
    registry = signed.desk.registry
    found = registry.get_manifest(ENGINES, first.tag)
    assert found is not None
    registry.put_manifest(ENGINES, second.tag, found.body, MANIFEST)
    said = signed.refused("publish")
    assert "predicate/buildDefinition/externalParameters/key is" in said


@pytest.mark.parametrize("name", ["eve", "anna"])
def test_who_is_no_builder_attests_nothing(signed: Signed, name: str) -> None:
    """A stranger, and a signer whose line is for releases alone: nothing is pushed for them."""
    signed.version("1.0.0", build_with=str(signed.keys / name))
    said = signed.refused("ci", "build", "--key", "0" * 64, code=2)
    assert "this manifest has no engine" in said
    signed.desk.registry.delete_manifest(ENGINES, signed.desk.registry.snapshot()[f"{ENGINES}:{signed.spec.tag}"])
    said = signed.refused("build", code=2)
    assert "would not be valid: SHA256:" in said
    assert "is not in" in said


def test_a_forged_attestation_is_named(signed: Signed) -> None:
    """Eve signs the right words; her key is no builder's."""
    (signed.desk.folder / "allowed_builders").write_text(f"eve@x {keygen(signed.keys / 'eve2')}\n")
    said = signed.refused("publish")
    assert "an attestation is not valid: SHA256:" in said
    assert "is not an allowed signer" in said


def test_a_revoked_builder_counts_no_more(signed: Signed) -> None:
    public = (signed.desk.folder.parent / "desk-keys" / "builder.pub").read_text()
    (signed.desk.folder / "revoked_keys").write_text(public)
    signed.version("1.0.0", revoked="revoked_keys")
    assert "of builder@x is revoked" in signed.refused("publish")


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b'{"payload":"!","payloadType":"x","signatures":[]}'])
def test_junk_beside_an_attestation_stops_nothing(signed: Signed, content: bytes) -> None:
    registry = signed.desk.registry
    blob, empty = Bytes.of(content), Bytes.of(b"{}")
    for each in (blob, empty):
        registry.push_blob(ENGINES, each)
    body = manifest_bytes(
        Descriptor("application/json", empty.digest, 2),
        [Descriptor("application/vnd.dsse.envelope.v1+json", blob.digest, blob.size)],
    )
    subject = registry.snapshot()[f"{ENGINES}:{signed.spec.tag}"].removeprefix("sha256:")
    for number in range(40):
        registry.put_manifest(ENGINES, f"att-{subject}-{number:012x}", body, MANIFEST)
    assert signed.desk.json("publish")["attested_by"] == ["builder@x"]


def test_a_builder_whose_key_was_taken_still_gets_no_other_path_signed(signed: Signed) -> None:
    """Attested all right, and yet not the three files that an engine is."""
    digest = signed.swap_layer(tar_of(EVIL))
    found = signed.desk.registry.get_manifest(ENGINES, digest)
    assert found is not None
    attest = attests_engine(signed.desk.wiring, signed.spec, 1.0)
    assert attest is not None
    attest(Descriptor(MANIFEST, digest, len(found.body)))
    said = signed.refused("publish")
    assert "is not the engine detector fp" in said
    assert "for sim-x86: its layer has" in said


def test_an_unsigned_fleet_takes_an_engine_s_layer_only_as_its_report_says(desk: Desk) -> None:
    desk.set_version("1.0.0")
    desk.build()
    unsigned = Signed.__new__(Signed)
    unsigned.desk = desk
    unsigned.swap_layer(tar_of(EVIL))
    assert "is not the engine detector fp" in desk.error("publish", code=4)


# ── building again what nobody attests ──


def test_what_was_built_unsigned_is_missing_until_it_is_attested(desk: Desk) -> None:
    desk.set_version("1.0.0")
    desk.build()
    signed = Signed.__new__(Signed)
    signed.desk = desk
    keys = desk.folder.parent / "keys"
    keys.mkdir()
    (desk.folder / "allowed_signers").write_text(f"anna@x {keygen(keys / 'anna')}\n")
    desk.set_version("1.0.0", trust={"signers": "allowed_signers", "sign_with": str(keys / "anna")})
    said = desk.error("publish", code=4)
    assert "has no attestation of a builder" in said
    plan = desk.json("plan", "--no-robots")
    assert len(plan["engines_to_build"]) == 2
    assert len(plan["images_to_build"]) == 1
    assert len(plan["unproven"]) == 3
    assert len(desk.fleet("ci", "plan", "--json").json["matrix"]["include"]) == 3
    desk.build()
    assert desk.fleet("ci", "plan", "--json").json["matrix"]["include"] == []
    assert desk.json("publish")["attested_by"] == ["builder@x"]


def test_an_attested_engine_keeps_its_key_and_another_does_not(signed: Signed) -> None:
    registry, spec = signed.desk.registry, signed.spec
    first = registry.snapshot()[f"{ENGINES}:{spec.tag}"]
    signed.desk.push(spec)
    assert registry.snapshot()[f"{ENGINES}:{spec.tag}"] == first
    evil = signed.swap_layer(tar_of(EVIL))
    signed.desk.push(spec)
    assert registry.snapshot()[f"{ENGINES}:{spec.tag}"] == first, "what this builder made is the same again"
    assert not [tag for tag in registry.tags(ENGINES) if evil[7:] in tag], "what was there is not attested"
    registry.put_manifest(ENGINES, spec.tag, b'{"junk":true}', "application/json")
    signed.desk.push(spec)
    assert signed.desk.json("publish")["attested_by"] == ["builder@x"]


def test_a_key_that_does_not_sign_leaves_the_tag_alone(signed: Signed, tmp_path: Path) -> None:
    registry, spec = signed.desk.registry, signed.spec
    registry.delete_manifest(ENGINES, registry.snapshot()[f"{ENGINES}:{spec.tag}"])
    report = engine_folder(tmp_path / "engine", spec.key, model=spec.model, precision=spec.precision)

    def fails(_subject: Descriptor) -> None:
        raise RuntimeError("the token was not touched")

    with pytest.raises(RuntimeError):
        push_engine(registry, ENGINES, spec.key, tmp_path / "engine", report=report, attest=fails)
    assert f"{ENGINES}:{spec.tag}" not in registry.snapshot()


# ── what a second signer signs ──


def test_a_swapped_document_is_not_signed_and_the_difference_is_shown(signed: Signed) -> None:
    signed.desk.fleet("publish")
    signed.swap_release()
    for command in (["keys", "sign"], ["keys", "sign", "--renew"], ["keys", "sign", "--key", str(signed.keys / "ben")]):
        said = signed.refused(*command)
        assert "differs from what the manifest at hand makes: robot.compose.yaml changed" in said
        assert "-/compose/robot.compose.yaml: # docker.sock" in said


def test_what_is_signed_is_made_from_verified_parts(signed: Signed) -> None:
    """Base and release swapped together: made anew, they would agree."""
    signed.desk.fleet("publish")
    signed.swap_base()
    signed.swap_release()
    assert "not attested by a builder: base image" in signed.refused("keys", "sign", "--renew")


def test_another_version_is_not_signed_from_this_manifest(signed: Signed) -> None:
    signed.desk.fleet("publish")
    signed.version("1.1.0")
    said = signed.refused("keys", "sign", "1.0.0", "--renew", code=2)
    assert said == "the manifest at hand is version 1.1.0, 1.0.0 is to be signed"


def test_renewing_is_for_what_counts(signed: Signed) -> None:
    signed.version("1.0.0", threshold=2)
    signed.desk.fleet("publish")
    assert "is not valid yet" in signed.refused("keys", "sign", "--renew")


def test_a_script_says_which_digest_it_expects(signed: Signed) -> None:
    document = signed.desk.json("publish")["document"]
    ben = ("keys", "sign", "--key", str(signed.keys / "ben"))
    assert "there is no terminal to ask on" in signed.refused(*ben, code=2)
    assert "--yes needs the digest" in signed.refused(*ben, "--yes", code=2)
    other = "sha256:" + "0" * 64
    assert f"has the document {document}, expected is {other}" in signed.refused(*ben, "--digest", other)
    assert signed.json(*ben, "--digest", document)["signed_by"] == ["anna@x", "ben@x"]


def test_whoever_is_asked_sees_digest_and_difference(signed: Signed, monkeypatch: pytest.MonkeyPatch) -> None:
    signed.desk.fleet("publish")
    signed.desk.bootstrapped()
    signed.desk.fleet("rollout", "--yes")
    signed.desk.set_version("1.1.0", trust=signed.trust, groups={"amr": {"environment": {"SPEED": "2"}}})
    document = signed.desk.json("publish")["document"]
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    answers = iter([False, True])
    monkeypatch.setattr("typer.confirm", lambda *_args, **_more: next(answers))
    ben = ("keys", "sign", "--key", str(signed.keys / "ben"))
    declined = signed.desk.fleet(*ben, code=3)
    assert document in declined.err
    assert "+/environment/amr-001/SPEED:" in declined.err
    assert "signed by anna@x, ben@x" in signed.desk.fleet(*ben).out


def sign_words(signed: Signed, words: Statement, name: str) -> None:
    """Sign words with somebody's key, as whoever took it can."""
    text, signer = canonical_json(words).decode(), SshSigner()
    namespace = f"jetfleet.{words.kind}"
    signature = signer.sign(text.encode(), namespace, signed.keys / name)
    push_signature(signed.desk.registry, PREFIX, text, signature, signer.fingerprint(signed.keys / name))


def test_the_words_of_a_stolen_key_are_not_co_signed(signed: Signed) -> None:
    signed.version("1.0.0", threshold=2, expires="1d", sign_with=None)
    signed.trust.pop("sign_with")
    signed.version("1.0.0")
    document = signed.desk.json("publish")["document"]
    release = load_release(signed.desk.registry, PREFIX, "1.0.0")
    now = signed.desk.clock.now()
    sign_words(signed, replace(release_statement(release, now, DAY), expires_at=now + 200 * DAY), "anna")
    result = signed.desk.fleet("keys", "sign", "--key", str(signed.keys / "ben"), "--digest", document, "--json")
    assert "the statement that anna@x signed is not co-signed: they last until" in result.err.replace("\n", " ")
    assert result.json["signed_by"] != ["anna@x", "ben@x"]
    statements = [row["expires_at"] - row["issued_at"] for row in signed.json("keys", "verify", code=4)["signatures"]]
    assert sorted(statements) == [DAY, 200 * DAY]


def test_a_wider_rollback_order_is_not_co_signed(signed: Signed) -> None:
    signed.version("1.0.0", threshold=2)
    for version in ("1.0.0", "1.1.0"):
        signed.version(version)
        document = signed.desk.json("publish")["document"]
        signed.desk.fleet("keys", "sign", "--key", str(signed.keys / "ben"), "--digest", document)
        signed.desk.bootstrapped()
        signed.desk.fleet("rollout", "--yes")
    old = load_release(signed.desk.registry, PREFIX, "1.0.0")
    sign_words(signed, rollback_statement(old, signed.desk.clock.now(), [], "x"), "anna")
    signed.version("1.1.0", sign_with=str(signed.keys / "ben"))
    result = signed.desk.fleet("rollback", "1.0.0", "--robots", "amr-001", "--yes", code=4)
    said = " ".join(result.err.split())
    assert (
        "the statement that anna@x signed is not co-signed: they are for all robots, yours would be for amr-001" in said
    )
    assert "signed by 1 of 2" in said
    order = signed.desk.updaters["amr-001"].submitted[-1].proof
    assert order is not None
    assert order.rollback is None, "no robot was told"


# ── one bad tag ──


@pytest.mark.parametrize("statement", ["[" * 100_000, '{"issued_at":1' + "0" * 400 + "}", "{}"])
def test_one_junk_signature_stops_no_verb(signed: Signed, statement: str) -> None:
    signed.desk.fleet("publish")
    signed.desk.bootstrapped()
    registry, repository = signed.desk.registry, releases_of(PREFIX)
    text = load_release(registry, PREFIX, "1.0.0").text
    blob = Bytes.of(json.dumps({"statement": statement, "signatures": ["x"]}).encode())
    registry.push_blob(repository, blob)
    body = manifest_bytes(
        Descriptor("application/vnd.oci.empty.v1+json", Bytes.of(b"{}").digest, 2),
        [Descriptor(SIGNATURE_TYPE, blob.digest, blob.size)],
    )
    registry.put_manifest(repository, f"sig-{document_digest(text)[7:19]}-{0:012x}", body, MANIFEST)
    for verb in (["keys", "verify"], ["keys", "sign", "--renew"], ["publish"], ["rollout", "--yes"]):
        result = signed.desk.fleet(*verb)
        if verb != ["rollout", "--yes"]:
            assert "000000000000 cannot be read" in result.err.replace("\n", "")


def test_junk_in_history_and_locks_is_named(signed: Signed) -> None:
    signed.desk.fleet("publish")
    signed.desk.bootstrapped()
    registry = signed.desk.registry
    for repository, tag in (("audit", "99991231T235959Z-00000000"), ("locks", "rollout-x"), ("releases", "current")):
        registry.put_manifest(f"{PREFIX}/{repository}", tag, b'{"config":null}', "application/json")
    assert "rollout-x is not what fleet wrote there" in signed.desk.fleet("rollout", "--yes").err.replace("\n", "")
    result = signed.desk.fleet("history", "--json")
    assert len(result.json["history"]) == 1
    assert len(result.json["skipped"]) == 1
    registry.put_manifest(f"{PREFIX}/releases", "current", b'{"config":null}', "application/json")
    assert len(signed.desk.json("history")["skipped"]) == 2
    assert signed.desk.json("history")["current"] is None


def test_the_statement_that_is_signed_names_its_document(signed: Signed) -> None:
    signed.desk.fleet("publish")
    signed.desk.bootstrapped()
    signed.desk.fleet("rollout", "--yes")
    proof = signed.desk.updaters["amr-001"].submitted[-1].proof
    assert proof is not None
    assert from_json(Statement, proof.release.statement).document == document_digest(proof.document)
