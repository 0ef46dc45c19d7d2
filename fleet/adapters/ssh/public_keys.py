"""The public half of a key, wherever it can be read: in a `.pub` file, a certificate, in front of a locked key."""

from __future__ import annotations

import base64
from contextlib import suppress
from pathlib import Path

import paramiko
from paramiko.pkey import PublicBlob

from fleet.adapters.ssh.certificate import CERTIFICATE

_MAGIC = b"openssh-key-v1\0"


def plain_key(blob: bytes) -> bytes:
    """Return the plain public key: the one inside a certificate, or ``blob`` itself."""
    message = paramiko.Message(blob)
    name = message.get_text()
    kind = name.removesuffix(CERTIFICATE)
    if kind == name:
        return blob
    message.get_binary()  # nonce
    made = paramiko.Message()
    made.add_string(f"{kind}@openssh.com" if kind.startswith("sk-") else kind)
    for _ in range({"ssh-rsa": 2, "ssh-ed25519": 1, "sk-ssh-ed25519": 2, "sk-ecdsa-sha2-nistp256": 3}.get(kind, 2)):
        made.add_string(message.get_binary())
    return bytes(made.asbytes())


def public_half(path: Path) -> bytes | None:
    """Return the public half for a file: it may be one itself, lie next to, or stand in front of a locked key."""
    for place in (path, path.with_name(path.name + ".pub")):
        with suppress(OSError, UnicodeDecodeError, ValueError, IndexError):
            text = place.read_text(encoding="utf-8")
            if "PRIVATE KEY" not in text:
                return bytes(PublicBlob.from_string(text).key_blob)
            inside = _openssh_public(text)
            if inside is not None:
                return inside
    return None


def _openssh_public(text: str) -> bytes | None:
    """Return the public half in OpenSSH's own format of private keys, which no passphrase hides."""
    if "BEGIN OPENSSH PRIVATE KEY" not in text:
        return None
    body = "".join(line for line in text.splitlines() if "-----" not in line)
    data = base64.b64decode(body)
    if not data.startswith(_MAGIC):
        return None
    message = paramiko.Message(data[len(_MAGIC) :])
    for _ in range(3):
        message.get_binary()  # cipher, key derivation, its options
    message.get_int()
    return bytes(message.get_binary())


def why_not(path: Path, error: Exception) -> str:
    """Return why the file cannot be logged in with, in one sentence."""
    public = public_half(path)
    kind = paramiko.Message(public).get_text() if public else ""
    if path.suffix == ".pub" or (public and _is_public(path)):
        return f"{path} is a public key, and no agent holds its private half"
    if kind.startswith("sk-"):
        return f"{path} is a security key ({kind}): fleet uses those through an agent (ssh-add {path})"
    return f"{path} is not a key that can be used: {error}"


def _is_public(path: Path) -> bool:
    try:
        return "PRIVATE KEY" not in path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
