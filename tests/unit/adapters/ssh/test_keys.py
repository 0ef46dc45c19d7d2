"""Keys that cannot be used: what is said of each."""

from __future__ import annotations

import base64
from pathlib import Path

import paramiko
import pytest

from fleet.adapters.ssh.config.options import SshOptions
from fleet.adapters.ssh.keys import FileKeys, KeyRing


def ring(tmp_path: Path, **values: str) -> KeyRing:
    options = SshOptions("robot", {key: (value,) for key, value in {"identityagent": "none", **values}.items()})
    return KeyRing(options, FileKeys())


def security_key(path: Path) -> None:
    """Write what `ssh-keygen -t ed25519-sk` writes: a handle, of which only a token makes a signature."""
    public, file = paramiko.Message(), paramiko.Message()
    for text in ("sk-ssh-ed25519@openssh.com", b"k" * 32, "ssh:"):
        public.add_string(text)
    for text in ("none", "none", ""):
        file.add_string(text)
    file.add_int(1)
    file.add_string(public.asbytes())
    file.add_string(b"\0" * 64)
    body = base64.encodebytes(b"openssh-key-v1\0" + file.asbytes()).decode()
    path.write_text(f"-----BEGIN OPENSSH PRIVATE KEY-----\n{body}-----END OPENSSH PRIVATE KEY-----\n")


def test_a_security_key_is_used_through_an_agent(tmp_path: Path) -> None:
    path = tmp_path / "id_sk"
    security_key(path)
    keys = ring(tmp_path, identityfile=str(path))
    assert list(keys.candidates()) == []
    assert f"{path} is a security key (sk-ssh-ed25519@openssh.com): fleet uses those through an agent" in keys.notes[-1]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\0", b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n", b"ssh-rsa x"])
def test_a_file_that_is_no_key_is_said(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    keys = ring(tmp_path, identityfile=str(path))
    assert list(keys.candidates()) == []
    assert str(path) in keys.notes[-1]


def test_a_folder_a_provider_and_a_switch_are_said(tmp_path: Path) -> None:
    keys = ring(tmp_path, identityfile=str(tmp_path), pkcs11provider="/usr/lib/token.so")
    assert list(keys.candidates()) == []
    assert any(f"{tmp_path} cannot be read: Is a directory" in note for note in keys.notes)
    assert any("ssh-add -s" in note for note in keys.notes)
    off = ring(tmp_path, pubkeyauthentication="no")
    assert list(off.candidates()) == []
    assert off.notes == ["PubkeyAuthentication is off"]


def test_missing_default_keys_are_one_note(tmp_path: Path) -> None:
    files = tuple(str(tmp_path / ".ssh" / name) for name in ("id_rsa", "id_ecdsa", "id_ed25519"))
    keys = KeyRing(SshOptions("robot", {"identityagent": ("none",), "identityfile": files}), FileKeys())
    assert list(keys.candidates()) == []
    assert keys.notes == ["no agent (IdentityAgent none)", f"no {tmp_path}/.ssh/id_…"]
