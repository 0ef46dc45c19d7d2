"""Attestations on a real registry with real SSH keys, and on the fakes that unit tests use: one suite for both."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.adapters.docker.docker_config import DockerCredentials
from fleet.adapters.registry.oci_registry import OciRegistry
from fleet.adapters.ssh.ssh_signer import SshSigner
from fleet.errors import UsageError
from fleet.oci.image_spec import MANIFEST, Descriptor
from fleet.ports import Registry, Signer
from fleet.publish.builders import Builders
from fleet.signing.provenance import ENGINE, PROVENANCE, Build
from fleet.signing.trust_spec import TrustSpec
from tests.contract.registry.test_registry import push_artifact, real_host
from tests.contract.signing.test_signatures import Keys, agent, keys
from tests.fakes.registries.registry import FakeRegistry
from tests.fakes.signer import FakeSigner

__all__ = ["agent", "keys", "real_host"]

REPOSITORY = "attested/engines"
BUILD = Build(ENGINE, "engines:" + "b" * 64, "sim-x86", {"model": "detector"}, {"recipe:builder": "sha256:" + "c" * 64})
TIMES = {"started": 1_800_000_000.0, "finished": 1_800_000_060.0}


class Site:
    """A registry with one artifact, and a builder's key; Eve's is nobody's."""

    def __init__(self, registry: Registry, signer: Signer, folder: Path, keys: Keys | None) -> None:
        self.registry = registry
        self.signer = signer
        self.folder = folder
        for name in ("builder", "eve"):
            if keys is None:
                (folder / name).write_text("a key")
        path = keys.path if keys else lambda name: folder / name
        line = keys.public("builder") if keys else "builder"
        options = f'namespaces="{PROVENANCE}" ' if keys else ""
        (folder / "builders").write_text(f"builder@x {options}{line}\n")
        (folder / "nobody").write_text("")
        self.key, self.eve = path("builder"), path("eve")
        self.trust = TrustSpec(folder / "nobody", 1, None, 0.0, None, folder / "builders", self.key)
        self.digest, body = push_artifact(registry, REPOSITORY, "engine", folder.name.encode())
        self.subject = Descriptor(MANIFEST, self.digest, len(body))

    def builders(self, trust: TrustSpec | None = None) -> Builders:
        return Builders(self.registry, trust or self.trust, self.signer)

    def problem(self, build: Build = BUILD, digest: str = "") -> str:
        (found,) = self.builders().judge(REPOSITORY, [(digest or self.digest, build)])
        return found.problem


@pytest.fixture(params=["fake", "real"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    if request.param == "fake":
        yield Site(FakeRegistry(), FakeSigner(), tmp_path, None)
        return
    host = request.getfixturevalue("real_host")
    client = OciRegistry(host, credentials=DockerCredentials(tmp_path / "no-docker-config"))
    yield Site(client, SshSigner(), tmp_path, request.getfixturevalue("keys"))
    client.close()


def test_what_a_builder_attests_counts(site: Site) -> None:
    assert site.problem() == f"{site.digest} has no attestation of a builder"
    tag = site.builders().attest(REPOSITORY, site.subject, BUILD, **TIMES)
    assert tag.startswith(f"att-{site.digest[7:]}-")
    (found,) = site.builders().judge(REPOSITORY, [(site.digest, BUILD)])
    assert (found.builders, found.problem) == (("builder@x",), "")
    stored = site.registry.get_manifest(REPOSITORY, tag)
    assert stored is not None
    document = json.loads(stored.body)
    assert document["subject"] == {"mediaType": MANIFEST, "digest": site.digest, "size": site.subject.size}
    assert document["artifactType"] == "application/vnd.dsse.envelope.v1+json"


def test_it_counts_for_that_artifact_and_that_build_alone(site: Site) -> None:
    tag = site.builders().attest(REPOSITORY, site.subject, BUILD, **TIMES)
    assert "externalParameters/model" in site.problem(replace(BUILD, parameters={"model": "other"}))
    other, _ = push_artifact(site.registry, REPOSITORY, "other", site.folder.name.encode() + b"other")
    assert site.problem(digest=other) == f"{other} has no attestation of a builder"
    stored = site.registry.get_manifest(REPOSITORY, tag)
    assert stored is not None
    site.registry.put_manifest(REPOSITORY, f"att-{other[7:]}-{tag[-12:]}", stored.body, MANIFEST)
    assert "its subject/0/digest/sha256 is" in site.problem(digest=other)


def test_whoever_is_no_builder_attests_nothing(site: Site) -> None:
    before = site.registry.tags(REPOSITORY)
    with pytest.raises(UsageError, match="would not be valid"):
        site.builders(replace(site.trust, build_with=site.eve)).attest(REPOSITORY, site.subject, BUILD, **TIMES)
    assert site.registry.tags(REPOSITORY) == before


def test_without_a_key_it_is_said_which_to_name(site: Site) -> None:
    with pytest.raises(UsageError, match="no key to attest builds is set") as caught:
        site.builders(replace(site.trust, build_with=None)).key()
    assert "trust/build_with" in caught.value.hint
    assert site.builders(replace(site.trust, build_with=None, sign_with=site.key)).key()[0] == site.key


def test_two_builders_are_both_named(site: Site) -> None:
    site.builders().attest(REPOSITORY, site.subject, BUILD, **TIMES)
    allowed = site.folder / "builders"
    public = site.eve.with_name(site.eve.name + ".pub")
    own = " ".join(public.read_text().split()[:2]) if public.exists() else "eve"
    options = f'namespaces="{PROVENANCE}" ' if public.exists() else ""
    allowed.write_text(allowed.read_text() + f"eve@x {options}{own}\n")
    site.builders(replace(site.trust, build_with=site.eve)).attest(REPOSITORY, site.subject, BUILD, **TIMES)
    (found,) = site.builders().judge(REPOSITORY, [(site.digest, BUILD)])
    assert found.builders == ("builder@x", "eve@x")


def test_a_signer_s_key_is_no_builder_s_unless_its_line_says_so(keys: Keys, tmp_path: Path) -> None:
    (tmp_path / "signers").write_text(f'anna@x namespaces="jetfleet.release" {keys.public("anna")}\n')
    trust = TrustSpec(tmp_path / "signers", 1, keys.path("anna"), 0.0)
    with pytest.raises(UsageError, match="is not in"):
        Builders(FakeRegistry(), trust, SshSigner()).key()
    (tmp_path / "signers").write_text(f'anna@x namespaces="jetfleet.*" {keys.public("anna")}\n')
    assert Builders(FakeRegistry(), trust, SshSigner()).key()[1] == keys.fingerprint("anna")


@pytest.mark.usefixtures("agent")
def test_a_key_in_an_agent_attests(keys: Keys, tmp_path: Path) -> None:
    """No file with a private key is read, and none could be copied into a builder's container."""
    subprocess.run(["ssh-add", "-q", str(keys.path("builder"))], check=True, timeout=30, capture_output=True)
    public = tmp_path / "held.pub"
    public.write_text(keys.path("builder").with_suffix(".pub").read_text())
    site = Site(FakeRegistry(), SshSigner(), tmp_path, keys)
    site.builders(replace(site.trust, build_with=public)).attest(REPOSITORY, site.subject, BUILD, **TIMES)
    assert site.problem() == ""


def test_a_person_can_check_it_with_ssh_keygen_alone(keys: Keys, tmp_path: Path) -> None:
    """As docs/provenance.md shows."""
    site = Site(FakeRegistry(), SshSigner(), tmp_path, keys)
    tag = site.builders().attest(REPOSITORY, site.subject, BUILD, **TIMES)
    manifest = site.registry.get_manifest(REPOSITORY, tag)
    assert manifest is not None
    envelope = json.loads(site.registry.read_blob(REPOSITORY, json.loads(manifest.body)["layers"][0]["digest"]))
    payload = base64.b64decode(envelope["payload"])
    (tmp_path / "signature").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    words = ["ssh-keygen", "-Y", "verify", "-f", str(tmp_path / "builders"), "-I", "builder@x", "-n", PROVENANCE]
    words += ["-s", str(tmp_path / "signature")]
    signed = b"DSSEv1 28 application/vnd.in-toto+json %d %s" % (len(payload), payload)
    ran = subprocess.run(words, input=signed, capture_output=True, timeout=30, check=False)
    assert ran.returncode == 0, ran.stderr
    assert b'Good "jetfleet.provenance" signature for builder@x' in ran.stdout
