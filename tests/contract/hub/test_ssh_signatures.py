"""Signatures that `ssh-keygen` makes are judged in the process as it judges them, for each kind of key."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from fleet.signing.ssh_signature import BadSignature, read_key, verify
from runtime.contract.node.report import NAMESPACE
from tests.fakes.pull_robots import SigningKey

KINDS = (("ed25519", ""), ("ecdsa", "256"), ("ecdsa", "384"), ("ecdsa", "521"), ("rsa", "2048"))


def keygen(*words: str, stdin: bytes = b"") -> bytes:
    return subprocess.run(["ssh-keygen", *words], input=stdin, capture_output=True, timeout=60, check=True).stdout


def make(folder: Path, kind: str, bits: str) -> Path:
    path = folder / f"{kind}{bits}"
    keygen("-q", "-t", kind, *(("-b", bits) if bits else ()), "-N", "", "-C", "a comment", "-f", str(path))
    return path


@pytest.mark.parametrize(("kind", "bits"), KINDS)
def test_a_real_signature_fits_and_no_other_word_does(tmp_path: Path, kind: str, bits: str) -> None:
    path = make(tmp_path, kind, bits)
    key = read_key(path.with_suffix(".pub").read_text())
    assert key.fingerprint == keygen("-l", "-f", f"{path}.pub").split()[1].decode()
    message = b"what the robot says \x00\xff"
    for hash_name in ("sha256", "sha512"):
        words = ("-q", "-Y", "sign", "-O", f"hashalg={hash_name}", "-n", NAMESPACE, "-f", str(path))
        armored = keygen(*words, stdin=message).decode()
        verify(message, armored, NAMESPACE, key)
        with pytest.raises(BadSignature, match="does not fit"):
            verify(message + b".", armored, NAMESPACE, key)
        with pytest.raises(BadSignature, match="namespace"):
            verify(message, armored, "file", key)
        with pytest.raises(BadSignature, match="another key"):
            verify(message, armored, NAMESPACE, SigningKey("other").host_key)


def test_a_weak_rsa_key_signs_nothing(tmp_path: Path) -> None:
    path = make(tmp_path, "rsa", "1024")
    armored = keygen("-q", "-Y", "sign", "-n", NAMESPACE, "-f", str(path), stdin=b"x").decode()
    with pytest.raises(BadSignature, match="1024 bits, 2048 are needed"):
        verify(b"x", armored, NAMESPACE, read_key(path.with_suffix(".pub").read_text()))


def test_what_this_process_signs_ssh_keygen_believes(tmp_path: Path) -> None:
    key = SigningKey("a")
    (tmp_path / "allowed").write_text(f"robot {key.public}\n")
    (tmp_path / "signature").write_text(key.sign(b"words"))
    words = ("-Y", "verify", "-f", str(tmp_path / "allowed"), "-I", "robot", "-n", NAMESPACE)
    assert b"Good" in keygen(*words, "-s", str(tmp_path / "signature"), stdin=b"words")
