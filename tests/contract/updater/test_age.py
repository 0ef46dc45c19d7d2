"""A secret that only one robot can open: the real `age`, to a real host key, read as the robot's updater reads it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from runtime.contract.robot.release import SecretReference
from runtime.updater.robot.real_world import RealWorld
from runtime.updater.state.world import WorldError

AGE = shutil.which("age")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A robot's machine with a host key, as `ssh-keygen -A` makes them."""
    return with_host_key(tmp_path / "robot")


def with_host_key(machine: Path) -> Path:
    key = machine / "etc/ssh/ssh_host_ed25519_key"
    key.parent.mkdir(parents=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    return machine


def encrypted(machine: Path, secret: bytes) -> str:
    """Encrypt as docs/manifest.md says: to what `ssh-keyscan` shows of the robot."""
    assert AGE is not None, "no age here: make setup"
    to = machine / "etc/ssh/ssh_host_ed25519_key.pub"
    made = subprocess.run([AGE, "--armor", "-R", str(to)], input=secret, check=True, capture_output=True)
    return made.stdout.decode()


def test_the_robot_opens_what_was_encrypted_to_its_host_key(machine: Path, tmp_path: Path) -> None:
    text = encrypted(machine, "s3cret ü\n".encode())
    assert "s3cret" not in text
    assert RealWorld(tmp_path, machine=machine).secret(SecretReference("age", text)) == "s3cret ü"


def test_another_robot_does_not(machine: Path, tmp_path: Path) -> None:
    other = with_host_key(tmp_path / "other")
    with pytest.raises(WorldError, match=r"age does not open a secret with .*ssh_host_ed25519_key") as caught:
        RealWorld(tmp_path, machine=other).secret(SecretReference("age", encrypted(machine, b"s3cret")))
    assert "age --armor -R /etc/ssh/ssh_host_ed25519_key.pub" in caught.value.hint
    assert "s3cret" not in caught.value.message


@pytest.mark.parametrize(
    "spoil", [lambda text: text[:-80], lambda text: text.replace("\n", "\nA", 2), lambda _: "none"]
)
def test_a_damaged_text_is_an_error_and_no_value(machine: Path, tmp_path: Path, spoil: object) -> None:
    assert callable(spoil)
    with pytest.raises(WorldError, match="age does not open"):
        RealWorld(tmp_path, machine=machine).secret(SecretReference("age", spoil(encrypted(machine, b"s3cret"))))


@pytest.mark.parametrize("secret", [b"", b"\n\n", b"\xff\xfe", b"a\0b"])
def test_what_is_no_line_of_text_is_refused_and_not_changed(machine: Path, tmp_path: Path, secret: bytes) -> None:
    """Bytes that are no UTF-8 were replaced by marks, and the mark was taken for the secret."""
    world = RealWorld(tmp_path, machine=machine)
    with pytest.raises(WorldError, match="the secret that age opened"):
        world.secret(SecretReference("age", encrypted(machine, secret)))
    (tmp_path / "says").write_bytes(secret)
    with pytest.raises(WorldError, match="the secret command"):
        world.secret(SecretReference("command", f"cat {tmp_path / 'says'}"))


def test_the_first_line_is_the_secret(machine: Path, tmp_path: Path) -> None:
    assert RealWorld(tmp_path, machine=machine).secret(SecretReference("age", encrypted(machine, b"a\r\nb"))) == "a"
