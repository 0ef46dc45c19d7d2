"""Keys, agents and certificates: what `ssh` logs in with, fleet does too; trouble with them is never "offline"."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.errors import RobotError, RobotOffline
from tests.contract.hosts.local_sshd import keygen
from tests.contract.openssh.site import PASSPHRASE, Operator, agent


@pytest.fixture
def locked(operator: Operator) -> Path:
    """The right key, under a passphrase."""
    path = operator.home / "locked"
    path.write_bytes(operator.site.identity.read_bytes())
    path.chmod(0o600)
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", PASSPHRASE, "-f", str(path)], check=True, timeout=60)
    return path


@pytest.fixture
def right_agent(operator: Operator) -> Iterator[Path]:
    """An agent with the right key alone."""
    with agent(operator.home, operator.site.identity) as path:
        yield path


@pytest.fixture
def crowded_agent(operator: Operator) -> Iterator[Path]:
    """An agent with eight keys, the right one last."""
    others = [operator.home / f"other-{n}" for n in range(7)]
    for path in others:
        keygen(path)
    with agent(operator.home, *others, operator.site.identity) as path:
        yield path


def same(operator: Operator, **changes: object) -> None:
    """Both get in."""
    robot = operator.site.address("127.0.0.3", **changes)  # type: ignore[arg-type]
    beside = operator.ssh(robot, "echo", "in")
    assert beside.code == 0, beside.err
    assert operator.fleet(robot, "echo", "in") == "in\n"


def refused(operator: Operator, **changes: object) -> RobotError:
    """Neither gets in, and it is ours to put right."""
    said = operator.refused(operator.site.address("127.0.0.3", **changes))  # type: ignore[arg-type]
    assert isinstance(said, RobotError)
    assert not isinstance(said, RobotOffline)
    assert said.exit_code == 3
    assert said.hint
    return said


def test_too_many_keys_are_said_with_the_servers_words(
    operator: Operator, crowded_agent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", str(crowded_agent))
    operator.writes("")
    said = refused(operator)
    assert "Too many authentication failures" in said.message
    assert "the agent's key SHA256:" in said.message
    assert "IdentitiesOnly" in said.hint


def test_the_manifests_key_is_tried_before_a_crowded_agents(
    operator: Operator, crowded_agent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ssh -i` is refused here: more is done than OpenSSH does."""
    monkeypatch.setenv("SSH_AUTH_SOCK", str(crowded_agent))
    operator.writes("")
    robot = operator.site.address(identity_file=str(operator.site.identity))
    assert operator.fleet(robot, "echo", "in") == "in\n"


def test_a_configured_key_comes_first_out_of_a_crowded_agent(
    operator: Operator, crowded_agent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", str(crowded_agent))
    operator.writes(f"Host *\n  IdentityFile {operator.site.identity}\n")
    same(operator)


def test_a_public_key_names_the_agents(
    operator: Operator, crowded_agent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", str(crowded_agent))
    alone = operator.home / "alone.pub"
    alone.write_bytes(operator.site.identity.with_suffix(".pub").read_bytes())
    operator.writes(f"Host 127.*\n  IdentitiesOnly yes\n  IdentityFile {alone}\n")
    same(operator)
    same(operator, identity_file=str(alone))


def test_a_public_key_whose_private_half_nobody_holds_is_said(operator: Operator) -> None:
    alone = operator.home / "alone.pub"
    alone.write_bytes(operator.site.identity.with_suffix(".pub").read_bytes())
    operator.writes(f"Host 127.*\n  IdentitiesOnly yes\n  IdentityFile {alone}\n")
    assert f"{alone} is a public key, and no agent holds its private half" in refused(operator).message


def test_identity_agent_is_asked(operator: Operator, right_agent: Path) -> None:
    operator.writes(f"Host 127.*\n  IdentityAgent {right_agent}\n")
    same(operator)


def test_identity_agent_by_variable(operator: Operator, right_agent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_AGENT", str(right_agent))
    operator.writes("Host 127.*\n  IdentityAgent $MY_AGENT\n")
    same(operator)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("IdentityAgent /no/such/agent.sock", "the agent /no/such/agent.sock (IdentityAgent) does not answer"),
        ("IdentityAgent none", "no agent (IdentityAgent none)"),
        ("ServerAliveInterval 9", "no agent (SSH_AUTH_SOCK is not set)"),
    ],
)
def test_no_key_at_all_is_said_with_where_one_was_looked_for(operator: Operator, line: str, words: str) -> None:
    operator.writes(f"Host *\n  {line}\n  IdentityFile {operator.home}/missing\n")
    said = refused(operator)
    assert "no key to try" in said.message
    assert words in said.message
    assert f"{operator.home}/missing does not exist" in said.message


def test_a_locked_key_in_the_agent_is_used_also_with_identities_only(
    operator: Operator, locked: Path, right_agent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", str(right_agent))
    operator.writes(f"Host 127.*\n  IdentitiesOnly yes\n  IdentityFile {locked}\n")
    same(operator)
    same(operator, identity_file=str(locked))


@pytest.mark.parametrize("where", ["configuration", "manifest"])
def test_a_locked_key_says_how_to_unlock_it(operator: Operator, locked: Path, where: str) -> None:
    configured = where == "configuration"
    operator.writes(f"Host *\n  IdentityFile {locked if configured else '/dev/null'}\n")
    said = refused(operator, **({} if configured else {"identity_file": str(locked)}))
    assert f"{locked} needs a passphrase" in said.message
    assert said.hint == f"unlock it: ssh-add {locked}"


def test_an_agent_that_refuses_to_sign_is_said(
    operator: Operator, right_agent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its key asks for a confirmation (`ssh-add -c`), and nobody is there."""
    environment = {**os.environ, "SSH_AUTH_SOCK": str(right_agent)}
    subprocess.run(["ssh-add", "-q", "-D"], env=environment, check=True, timeout=30, stderr=subprocess.DEVNULL)
    subprocess.run(["ssh-add", "-q", "-c", str(operator.site.identity)], env=environment, check=True, timeout=30)
    (operator.home / "askpass").write_text("#!/bin/sh\nexit 1\n")
    monkeypatch.setenv("SSH_AUTH_SOCK", str(right_agent))
    operator.writes("Host *\n  IdentityFile /dev/null\n")
    said = refused(operator)
    assert "the agent refused to sign" in said.message


def test_a_refused_key_is_named_with_what_the_server_wants(operator: Operator) -> None:
    keygen(operator.home / "stranger")
    operator.writes(f"Host *\n  IdentitiesOnly yes\n  IdentityFile {operator.home}/stranger\n")
    said = refused(operator)
    assert f"refused the login (tried {operator.home}/stranger; " in said.message
    assert "it said: permission denied, remaining methods: publickey" in said.message
    assert "authorized_keys" in said.hint


def test_a_second_factor_is_said(operator: Operator) -> None:
    operator.writes(operator.keys)
    said = refused(operator, kind="two_factors")
    assert "it took the key and wants password too" in said.message
    assert "fleet types no passwords" in said.hint


@pytest.mark.parametrize("kind", ["rsa", "ecdsa", "ed25519"])
def test_keys_of_every_kind_from_files_and_agents(
    operator: Operator, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = operator.home / f"id_{kind}"
    keygen(key, kind)
    with (operator.site.folder / "authorized_keys").open("a") as file:
        file.write(key.with_suffix(".pub").read_text())
    operator.writes(f"Host *\n  IdentitiesOnly yes\n  IdentityFile {key}\n")
    same(operator)
    with agent(operator.home, key) as path:
        key.unlink()
        monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
        same(operator)


# ── certificates of users ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def certified(operator: Operator) -> Path:
    """A key that counts only by its certificate, which lies in another folder."""
    key = operator.site.folder / "certified"
    if not key.exists():
        keygen(key)
    certificate = operator.site.certify(operator.site.user, key="certified")
    (operator.home / "certs").mkdir()
    certificate.rename(operator.home / "certs" / "robots-cert.pub")
    return key


def test_a_certificate_file_elsewhere_is_shown(operator: Operator, certified: Path) -> None:
    certificate = operator.home / "certs" / "robots-cert.pub"
    operator.writes(f"Host *\n  IdentitiesOnly yes\n  IdentityFile {certified}\n  CertificateFile {certificate}\n")
    same(operator)


def test_a_certificate_file_goes_with_a_key_in_the_agent(
    operator: Operator, certified: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = operator.home / "certs" / "robots-cert.pub"
    alone = operator.home / "certified.pub"
    alone.write_bytes(certified.with_suffix(".pub").read_bytes())
    operator.writes(f"Host *\n  IdentitiesOnly yes\n  IdentityFile {alone}\n  CertificateFile {certificate}\n")
    with agent(operator.home, certified) as path:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
        same(operator)


def test_a_certificate_beside_the_key_and_in_the_agent(
    operator: Operator, certified: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = operator.home / "mine"
    key.write_bytes(certified.read_bytes())
    key.chmod(0o600)
    (operator.home / "mine-cert.pub").write_bytes((operator.home / "certs" / "robots-cert.pub").read_bytes())
    operator.writes(f"Host *\n  IdentitiesOnly yes\n  IdentityFile {key}\n")
    same(operator)
    same(operator, identity_file=str(key))
    with agent(operator.home, key) as path:  # `ssh-add` takes the certificate with the key.
        monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
        operator.writes("Host *\n  IdentityFile /dev/null\n")
        same(operator)


def test_a_certificate_without_its_key_is_said(operator: Operator, certified: Path) -> None:
    certificate = operator.home / "certs" / "robots-cert.pub"
    keygen(operator.home / "stranger")
    operator.writes(
        f"Host *\n  IdentitiesOnly yes\n  IdentityFile {operator.home}/stranger\n  CertificateFile {certificate}\n"
    )
    assert f"no key for the certificate {certificate}" in refused(operator).message
    assert certified.exists()


def test_a_missing_key_of_the_manifest_is_said_before_anything_is_sent(operator: Operator) -> None:
    operator.writes("")
    robot = replace(operator.site.address(), identity_file="/no/such/key")
    with pytest.raises(RobotError, match="identity file /no/such/key does not exist"):
        operator.fleet(robot, "true")
