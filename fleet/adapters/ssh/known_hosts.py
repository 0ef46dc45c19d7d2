"""Lines of a known_hosts file as sshd(8) defines them: hashed names, patterns, `@revoked`, `@cert-authority`."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

AUTHORITY, REVOKED = "@cert-authority", "@revoked"


class UnreadableLine(ValueError):
    """A line that says something, but not what."""


@dataclass(frozen=True)
class KnownLine:
    """One key under some names."""

    where: str
    """``known_hosts:12``."""
    marker: str
    """Empty, AUTHORITY or REVOKED."""
    names: str
    kind: str
    """``ssh-ed25519``."""
    blob: bytes
    """The public key as it is sent."""

    def is_for(self, names: Sequence[str]) -> bool:
        """Whether the line speaks of a host with any of these names."""
        return any(named(self.names, name) for name in names)


def read_line(line: str, where: str) -> KnownLine | None:
    """Return what a line says, None for a comment. Raises UnreadableLine."""
    fields = line.split()
    if not fields or fields[0].startswith("#"):
        return None
    marker = fields.pop(0) if fields[0].startswith("@") else ""
    if marker not in ("", AUTHORITY, REVOKED):
        raise UnreadableLine(f"{where}: {marker} is not a marker of a known_hosts file")
    if len(fields) < 3:
        raise UnreadableLine(f"{where}: not a host key: a line is `[MARKER] NAMES KIND KEY`")
    names, kind, text = fields[:3]
    if names.startswith("|") and not _hash_fields(names):
        raise UnreadableLine(f"{where}: its hashed name is damaged")
    try:
        blob = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UnreadableLine(f"{where}: not a host key: {error}") from error
    length = int.from_bytes(blob[:4], "big")
    if blob[4 : 4 + length] != kind.encode():
        raise UnreadableLine(f"{where}: not a host key: it names {kind} but holds another kind of key")
    return KnownLine(where, marker, names, kind, blob)


def known_lines(files: Sequence[Path]) -> list[KnownLine]:
    """Return the lines of the user's and the machine's files. What cannot be read is passed over, as OpenSSH does."""
    found: list[KnownLine] = []
    for path in files:
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            try:
                read = read_line(line, f"{path}:{number}")
            except UnreadableLine:
                continue
            if read is not None:
                found.append(read)
    return found


def named(names: str, name: str) -> bool:
    """Whether a host's ``name`` is among the names of a line: hashed, or patterns of which ``!`` excludes."""
    if names.startswith("|"):
        salt, digest = _hash_fields(names) or (b"", b"")
        made = hmac.new(salt, name.encode(), hashlib.sha1).digest()
        return hmac.compare_digest(made, digest)
    found = False
    for pattern in names.lower().split(","):
        excluded = pattern.startswith("!")
        # `[` is a letter here: addresses with a port are written in brackets.
        if fnmatchcase(name.lower(), pattern.lstrip("!").replace("[", "[[]")):
            if excluded:
                return False
            found = True
    return found


def host_name(host: str, port: int) -> str:
    """Return the name under which a host is known: ``[host]:port`` unless the port is 22."""
    return host.lower() if port == 22 else f"[{host.lower()}]:{port}"


def _hash_fields(names: str) -> tuple[bytes, bytes] | None:
    parts = names.split("|")
    if len(parts) != 4 or parts[1] != "1":
        return None
    try:
        salt, digest = (base64.b64decode(part, validate=True) for part in parts[2:])
    except (binascii.Error, ValueError):
        return None
    return (salt, digest) if len(digest) == 20 else None
