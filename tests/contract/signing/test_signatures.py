"""SSH signatures for real: what `ssh-keygen` of this machine says, to the robot's side and to the operator's.

The fake world keeps the same contract, with signatures of its own making.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtime.contract.codec import canonical_json
from runtime.contract.robot.trust import NAMESPACES, RELEASE, ROLLBACK, TrustSettings, why_too_few
from runtime.updater.robot.real_world import RealWorld
from runtime.updater.state.world import World, WorldError
from tests.fakes.robots.robot_world import FakeWorld, fake_signature

STATEMENT = '{"document":"sha256:00","fleet":"größe"}'
NAMESPACE = NAMESPACES[RELEASE]


def keygen(*words: str, stdin: str = "") -> str:
    ran = subprocess.run(["ssh-keygen", *words], input=stdin, capture_output=True, text=True, timeout=30, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


class Keys:
    """Keys in a folder, made when they are first named."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str, kind: str = "ed25519") -> Path:
        path = self.folder / name
        if not path.exists():
            keygen("-q", "-t", kind, "-N", "", "-C", name, "-f", str(path))
        return path

    def public(self, name: str) -> str:
        return " ".join(self.path(name).with_suffix(".pub").read_text().split()[:2])

    def fingerprint(self, name: str) -> str:
        return keygen("-l", "-f", f"{self.path(name)}.pub").split()[1]

    def sign(self, key: Path, statement: str = STATEMENT, namespace: str = NAMESPACE) -> str:
        return keygen("-q", "-Y", "sign", "-f", str(key), "-n", namespace, stdin=statement)

    def certify(self, name: str, authority: str, principals: str, *more: str) -> Path:
        self.path(name)
        keygen("-q", "-s", str(self.path(authority)), "-I", name, "-n", principals, *more, f"{self.path(name)}.pub")
        return self.folder / f"{name}-cert.pub"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    if shutil.which("ssh-keygen") is None:
        pytest.fail("ssh-keygen is not here: install openssh-client")
    return Keys(tmp_path_factory.mktemp("keys"))


class Robot:
    """The real world with a trust folder that tests write."""

    def __init__(self, root: Path) -> None:
        self.world = RealWorld(root)
        self.trust = root / "trust"
        self.trust.mkdir(parents=True)

    def allow(self, *lines: str) -> None:
        (self.trust / "trust.json").write_bytes(canonical_json(TrustSettings("warehouse")))
        (self.trust / "allowed_signers").write_text("".join(f"{line}\n" for line in lines))

    def revoke(self, content: bytes) -> None:
        (self.trust / "revoked").write_bytes(content)


@pytest.fixture
def robot(tmp_path: Path) -> Robot:
    return Robot(tmp_path)


# ── the fake and the real one ──

Sign = Callable[[str, str, str], str]


@pytest.fixture(params=["fake", "real"])
def side(request: pytest.FixtureRequest, tmp_path: Path, keys: Keys) -> tuple[World, Sign]:
    """A robot that allows Anna and Ben, has revoked Ben, and a way to sign as anybody."""
    if request.param == "fake":
        fake = FakeWorld(tmp_path)
        fake.signers = {"SHA256:anna": ("anna@x",), "SHA256:ben": ("ben@x",)}
        fake.revoked = {"SHA256:ben"}
        return fake, lambda who, statement, namespace: fake_signature(f"SHA256:{who}", statement, namespace)
    real = Robot(tmp_path)
    real.allow(*(f"{who}@x {keys.public(who)}" for who in ("anna", "ben")))
    real.revoke(f"{keys.public('ben')}\n".encode())
    return real.world, lambda who, statement, namespace: keys.sign(keys.path(who), statement, namespace)


def test_an_allowed_signer_counts_and_others_say_why_not(side: tuple[World, Sign]) -> None:
    world, sign = side
    good = world.check_signature(STATEMENT, sign("anna", STATEMENT, NAMESPACE), NAMESPACE)
    assert (good.principals, good.counts, good.problem) == (("anna@x",), True, "")
    assert good.key.startswith("SHA256:")
    unknown = world.check_signature(STATEMENT, sign("eve", STATEMENT, NAMESPACE), NAMESPACE)
    assert not unknown.counts
    assert unknown.key in unknown.problem
    assert "is not an allowed signer" in unknown.problem
    revoked = world.check_signature(STATEMENT, sign("ben", STATEMENT, NAMESPACE), NAMESPACE)
    assert (revoked.counts, revoked.revoked) == (False, True)
    assert "of ben@x is revoked" in revoked.problem


def test_a_signature_is_of_one_statement_and_one_namespace(side: tuple[World, Sign]) -> None:
    world, sign = side
    for signature in (
        sign("anna", STATEMENT + " ", NAMESPACE),
        sign("anna", STATEMENT, NAMESPACES[ROLLBACK]),
        "not a signature",
        "",
    ):
        facts = world.check_signature(STATEMENT, signature, NAMESPACE)
        assert not facts.counts
        assert "a signature does not belong to this statement as jetfleet.release: " in facts.problem


def test_settings_are_none_until_somebody_wrote_them(robot: Robot) -> None:
    assert robot.world.trust() is None
    settings = TrustSettings("warehouse", threshold=2)
    (robot.trust / "trust.json").write_bytes(canonical_json(settings))
    assert robot.world.trust() == settings
    for damage in ("{", "[]", '{"threshold": 1}', '{"fleet": "x", "schema": 99}'):
        (robot.trust / "trust.json").write_text(damage)
        with pytest.raises(WorldError, match=r"trust.json cannot be read") as caught:
            robot.world.trust()
        assert "fleet bootstrap" in caught.value.hint


# ── what operators have ──


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_keys_of_every_kind_sign(robot: Robot, keys: Keys, kind: str) -> None:
    key = keys.path(f"of-{kind}", kind)
    robot.allow(f"anna@x {keys.public(key.name)}")
    facts = robot.world.check_signature(STATEMENT, keys.sign(key), NAMESPACE)
    assert (facts.counts, facts.key) == (True, keys.fingerprint(key.name))


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if shutil.which("ssh-agent") is None:
        pytest.fail("ssh-agent is not here: install openssh-client")
    socket = tmp_path / "agent.sock"
    said = subprocess.run(["ssh-agent", "-a", str(socket)], capture_output=True, text=True, timeout=30, check=True)
    process = re.search(r"SSH_AGENT_PID=(\d+)", said.stdout)
    assert process is not None
    monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
    yield
    os.kill(int(process[1]), signal.SIGTERM)


@pytest.mark.usefixtures("agent")
def test_a_key_that_only_an_agent_holds_signs_by_its_public_half(robot: Robot, keys: Keys) -> None:
    key = keys.path("held")
    subprocess.run(["ssh-add", "-q", str(key)], check=True, timeout=30, capture_output=True)
    private = key.read_bytes()
    key.unlink()
    try:
        robot.allow(f"anna@x {' '.join(key.with_suffix('.pub').read_text().split()[:2])}")
        facts = robot.world.check_signature(STATEMENT, keys.sign(key.with_suffix(".pub")), NAMESPACE)
    finally:
        key.write_bytes(private)
        key.chmod(0o600)
    assert facts.principals == ("anna@x",)


def test_a_certificate_stands_for_those_that_its_authority_names(robot: Robot, keys: Keys) -> None:
    certificate = keys.certify("carl", "authority", "carl@x,carl@elsewhere")
    robot.allow(f'*@x cert-authority,namespaces="jetfleet.*" {keys.public("authority")}')
    facts = robot.world.check_signature(STATEMENT, keys.sign(certificate), NAMESPACE)
    assert facts.principals == ("carl@x",)
    assert facts.key == keys.fingerprint("carl")


def test_certificates_of_two_people_are_two_people(robot: Robot, keys: Keys) -> None:
    robot.allow(f"*@x cert-authority {keys.public('authority')}")
    people = []
    for name in ("dora", "emil"):
        signature = keys.sign(keys.certify(name, "authority", f"{name}@x"))
        people.append(robot.world.check_signature(STATEMENT, signature, NAMESPACE).principals)
    assert people == [("dora@x",), ("emil@x",)]


def test_a_certificate_that_ran_out_counts_no_more(robot: Robot, keys: Keys) -> None:
    certificate = keys.certify("old", "authority", "old@x", "-V", "20200101:20200201")
    robot.allow(f"*@x cert-authority {keys.public('authority')}")
    facts = robot.world.check_signature(STATEMENT, keys.sign(certificate), NAMESPACE)
    assert not facts.counts
    assert "no valid principals" in facts.problem


def test_a_line_that_ran_out_counts_no_more(robot: Robot, keys: Keys) -> None:
    signature = keys.sign(keys.path("anna"))
    robot.allow(f'anna@x valid-before="20200101" {keys.public("anna")}')
    facts = robot.world.check_signature(STATEMENT, signature, NAMESPACE)
    assert not facts.counts
    assert "key has expired" in facts.problem
    assert str(robot.trust) not in facts.problem
    robot.allow(f'anna@x valid-after="20200101",valid-before="20990101" {keys.public("anna")}')
    assert robot.world.check_signature(STATEMENT, signature, NAMESPACE).counts


def test_a_line_for_other_namespaces_does_not_count(robot: Robot, keys: Keys) -> None:
    robot.allow(f'anna@x namespaces="git" {keys.public("anna")}')
    facts = robot.world.check_signature(STATEMENT, keys.sign(keys.path("anna")), NAMESPACE)
    assert not facts.counts
    assert 'not permitted for use in signature namespace "jetfleet.release"' in facts.problem


def test_keys_are_revoked_one_by_one_by_krl_and_with_their_authority(robot: Robot, keys: Keys, tmp_path: Path) -> None:
    certificate = keys.certify("fred", "second", "fred@x")
    signature = keys.sign(certificate)
    robot.allow(f"*@x cert-authority {keys.public('second')}", f"anna@x {keys.public('anna')}")
    assert robot.world.check_signature(STATEMENT, signature, NAMESPACE).counts
    krl = tmp_path / "krl"
    for revoked in (f"{keys.path('fred')}.pub", str(certificate), f"{keys.path('second')}.pub"):
        keygen("-q", "-k", "-f", str(krl), revoked)
        robot.revoke(krl.read_bytes())
        facts = robot.world.check_signature(STATEMENT, signature, NAMESPACE)
        assert (facts.counts, facts.revoked) == (False, True), revoked
        assert robot.world.check_signature(STATEMENT, keys.sign(keys.path("anna")), NAMESPACE).counts


def test_one_key_under_two_names_stands_for_both(robot: Robot, keys: Keys) -> None:
    robot.allow(f"anna@x,ann@x {keys.public('anna')}")
    facts = robot.world.check_signature(STATEMENT, keys.sign(keys.path("anna")), NAMESPACE)
    assert facts.principals == ("anna@x", "ann@x")


def test_a_robot_without_allowed_signers_says_what_to_do(robot: Robot, keys: Keys) -> None:
    with pytest.raises(WorldError, match=r"this robot knows no signers") as caught:
        robot.world.check_signature(STATEMENT, keys.sign(keys.path("anna")), NAMESPACE)
    assert "fleet bootstrap" in caught.value.hint


def test_a_robot_without_ssh_keygen_says_what_to_install(
    robot: Robot, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signature = keys.sign(keys.path("anna"))
    robot.allow(f"anna@x {keys.public('anna')}")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WorldError, match="cannot run ssh-keygen") as caught:
        robot.world.check_signature(STATEMENT, signature, NAMESPACE)
    assert "openssh-client" in caught.value.hint


def test_a_certificate_names_the_authority_that_vouches_for_it(robot: Robot, keys: Keys) -> None:
    robot.allow(f"*@x cert-authority {keys.public('one-for-all')}", f"anna@x {keys.public('anna')}")
    facts = []
    for name in ("made-up-1", "made-up-2"):
        signature = keys.sign(keys.certify(name, "one-for-all", f"{name}@x"))
        facts.append(robot.world.check_signature(STATEMENT, signature, NAMESPACE))
    assert [each.counts for each in facts] == [True, True]
    assert {each.authority for each in facts} == {keys.fingerprint("one-for-all")}
    assert "by 1 of 2" in why_too_few(facts, 2)
    anna = robot.world.check_signature(STATEMENT, keys.sign(keys.path("anna")), NAMESPACE)
    assert (anna.authority, why_too_few([facts[0], anna], 2)) == ("", "")


@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
def test_certificates_of_every_kind_name_their_authority(robot: Robot, keys: Keys, kind: str) -> None:
    robot.allow(f"*@x cert-authority {keys.public('authority')}")
    keys.path(f"holder-{kind}", kind)
    signature = keys.sign(keys.certify(f"holder-{kind}", "authority", "holder@x"))
    assert robot.world.check_signature(STATEMENT, signature, NAMESPACE).authority == keys.fingerprint("authority")


def test_two_signatures_in_one_file_do_not_count(robot: Robot, keys: Keys) -> None:
    """What is verified and what is asked for its authority would be two different signatures."""
    robot.allow(f"*@x cert-authority {keys.public('authority')}", f"anna@x {keys.public('anna')}")
    certified = keys.sign(keys.certify("holder", "authority", "holder@x"))
    both = certified + keys.sign(keys.path("anna"))
    assert not robot.world.check_signature(STATEMENT, both, NAMESPACE).counts
