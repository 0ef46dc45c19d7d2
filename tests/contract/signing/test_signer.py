"""The operator's signer and a fake one keep one contract; the real one speaks to ssh-keygen, agents and passphrases."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fleet.adapters.ssh import ssh_signer
from fleet.adapters.ssh.ssh_signer import SshSigner
from fleet.errors import SigningError, UsageError
from fleet.ports import Signer
from tests.contract.signing.test_signatures import Keys, agent, keygen, keys
from tests.fakes.signer import FakeSigner

__all__ = ["agent", "keys"]

STATEMENT = '{"fleet":"größe"}'.encode()
NAMESPACE = "jetfleet.release"


class Side:
    """A signer, keys of Anna, Ben and Eve, and an allowed_signers file with the first two."""

    def __init__(self, signer: Signer, key: Callable[[str], Path], folder: Path, line: Callable[[str], str]) -> None:
        self.signer, self.key = signer, key
        self.allowed, self.revoked = folder / "allowed_signers", folder / "revoked"
        self.allowed.write_text(f"anna@x {line('anna')}\nben@x {line('ben')}\n")
        self.revoked.write_text(f"{line('ben')}\n")

    def check(self, signature: str, statement: bytes = STATEMENT, revoked: bool = True) -> tuple[bool, str]:
        blocked = self.revoked if revoked else None
        facts = self.signer.check(statement, signature, NAMESPACE, allowed=self.allowed, revoked=blocked)
        return facts.counts, facts.problem


@pytest.fixture(params=["fake", "real"])
def side(request: pytest.FixtureRequest, tmp_path: Path, keys: Keys) -> Side:
    if request.param == "real":
        return Side(SshSigner(), keys.path, tmp_path, keys.public)
    for name in ("anna", "ben", "eve"):
        (tmp_path / name).write_text("a key")
    return Side(FakeSigner(), lambda name: tmp_path / name, tmp_path, lambda name: name)


def test_what_one_signs_all_can_judge(side: Side) -> None:
    signer = side.signer
    anna = signer.sign(STATEMENT, NAMESPACE, side.key("anna"))
    assert side.check(anna) == (True, "")
    facts = signer.check(STATEMENT, anna, NAMESPACE, allowed=side.allowed, revoked=None)
    assert (facts.key, facts.principals) == (signer.fingerprint(side.key("anna")), ("anna@x",))
    assert "is not an allowed signer" in side.check(signer.sign(STATEMENT, NAMESPACE, side.key("eve")))[1]
    ben = signer.sign(STATEMENT, NAMESPACE, side.key("ben"))
    assert side.check(ben, revoked=False) == (True, "")
    assert "is revoked" in side.check(ben)[1]
    assert "not belong to this statement" in side.check(anna, STATEMENT + b" ")[1]
    elsewhere = signer.sign(STATEMENT, "git", side.key("anna"))
    assert "as jetfleet.release" in side.check(elsewhere)[1]


def test_a_fingerprint_is_openssh_s(side: Side) -> None:
    assert side.signer.fingerprint(side.key("anna")).startswith("SHA256:")
    assert side.signer.fingerprint(side.key("anna")) != side.signer.fingerprint(side.key("ben"))
    with pytest.raises(UsageError, match=r"nobody does not exist"):
        side.signer.fingerprint(side.key("anna").with_name("nobody"))


def test_the_public_half_stands_in_for_a_key_that_is_elsewhere(keys: Keys, tmp_path: Path) -> None:
    signer = SshSigner()
    public = tmp_path / "held.pub"
    public.write_text(keys.path("anna").with_suffix(".pub").read_text())
    assert signer.fingerprint(public) == keys.fingerprint("anna")
    with pytest.raises(UsageError, match="held does not exist") as caught:
        signer.fingerprint(tmp_path / "held")
    assert str(public) in caught.value.hint
    with pytest.raises(SigningError, match="did not sign") as no_agent:
        signer.sign(STATEMENT, NAMESPACE, public)
    assert "ssh-add -l" in no_agent.value.hint


@pytest.mark.usefixtures("agent")
def test_an_agent_signs_by_the_public_half(keys: Keys, tmp_path: Path) -> None:
    subprocess.run(["ssh-add", "-q", str(keys.path("anna"))], check=True, timeout=30, capture_output=True)
    public = tmp_path / "held.pub"
    public.write_text(keys.path("anna").with_suffix(".pub").read_text())
    assert "BEGIN SSH SIGNATURE" in SshSigner().sign(STATEMENT, NAMESPACE, public)


def test_a_certificate_signs_for_whom_it_names(keys: Keys, tmp_path: Path) -> None:
    certificate = keys.certify("greta", "authority", "greta@x")
    allowed = tmp_path / "allowed"
    allowed.write_text(f"*@x cert-authority {keys.public('authority')}\n")
    signer = SshSigner()
    signature = signer.sign(STATEMENT, NAMESPACE, certificate)
    facts = signer.check(STATEMENT, signature, NAMESPACE, allowed=allowed, revoked=None)
    assert (facts.principals, facts.key) == (("greta@x",), signer.fingerprint(certificate))


def test_a_passphrase_that_nobody_can_give_ends_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keygen("-q", "-t", "ed25519", "-N", "secret", "-f", str(tmp_path / "locked"))
    monkeypatch.setenv("SSH_ASKPASS", "/bin/false")
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
    with pytest.raises(SigningError, match="locked did not sign") as caught:
        SshSigner().sign(STATEMENT, NAMESPACE, tmp_path / "locked")
    assert "passphrase" in caught.value.hint


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a key")
    with pytest.raises(UsageError, match="text is not a key that ssh-keygen can read"):
        SshSigner().fingerprint(tmp_path / "text")


def test_a_machine_without_ssh_keygen(keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = keys.path("anna")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SigningError, match="ssh-keygen is not installed"):
        SshSigner().sign(STATEMENT, NAMESPACE, key)


def test_a_signer_that_hangs_is_given_up(keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = keys.path("anna")  # made by the real ssh-keygen, before the other one hides it
    hangs = tmp_path / "ssh-keygen"
    hangs.write_text("#!/bin/sh\nexec sleep 60\n")
    hangs.chmod(0o755)
    monkeypatch.setattr(ssh_signer, "SIGN_S", 0.2)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(SigningError, match=r"did not answer within 0.2 s"):
        SshSigner().sign(STATEMENT, NAMESPACE, key)
