"""Is this host who it should be? What OpenSSH's client decides from known_hosts lines, and what then follows."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import paramiko

from fleet.adapters.ssh.certificate import read_certificate
from fleet.adapters.ssh.config.options import SshOptions
from fleet.adapters.ssh.known_hosts import AUTHORITY, REVOKED, KnownLine, host_name, known_lines
from fleet.adapters.ssh.public_keys import plain_key
from fleet.signing.fingerprint import fingerprint


class State(Enum):
    """What known lines say of a key that a host showed."""

    TRUSTED = "trusted"
    UNKNOWN = "unknown"
    CHANGED = "changed"
    REVOKED = "revoked"
    BAD_CERTIFICATE = "bad certificate"


@dataclass(frozen=True)
class Verdict:
    """The state, and the line or the reason that it comes from."""

    state: State
    line: KnownLine | None = None
    flaw: str = ""
    by_authority: bool = False


@dataclass(frozen=True)
class ShownKey:
    """A public key that a host showed and proved to have; a certificate holds one."""

    blob: bytes
    """As it was sent: maybe a certificate."""

    @property
    def plain(self) -> bytes:
        """The public key itself."""
        return plain_key(self.blob)

    def get_name(self) -> str:
        """``ssh-ed25519``."""
        return str(paramiko.Message(self.plain).get_text())

    def get_base64(self) -> str:
        """As a known_hosts line holds it."""
        return base64.b64encode(self.plain).decode("ascii")

    def __str__(self) -> str:
        return describe(self.plain)


def describe(blob: bytes) -> str:
    """Return ``ssh-ed25519 SHA256:…``."""
    return f"{paramiko.Message(blob).get_text()} {fingerprint(blob)}"


def judge(
    lines: Sequence[KnownLine],
    shown: ShownKey,
    *,
    names: Sequence[str],
    certified: Sequence[str],
    loose: Sequence[str] = (),
) -> Verdict:
    """Say what ``lines`` know of a host.

    ``names``: under which it is known, ``certified``: for which a certificate may be, ``loose``: under which a key may
    be known too without that another one there would count against it (a name without its port).
    """
    mine = [line for line in lines if line.is_for(names)]
    marked = _by_marks(mine, shown, certified)
    if marked is not None and marked.state is not State.BAD_CERTIFICATE:
        return marked
    keys = [line for line in mine if not line.marker]
    also = [line for line in lines if not line.marker and line.is_for(loose)] if loose else []
    for line in [*keys, *also]:
        if line.blob == shown.plain:
            return Verdict(State.TRUSTED, line)
    if marked is not None:
        return marked
    if keys:
        same = [line for line in keys if line.kind == shown.get_name()]
        return Verdict(State.CHANGED, (same or keys)[0])
    return Verdict(State.UNKNOWN)


def _by_marks(mine: Sequence[KnownLine], shown: ShownKey, certified: Sequence[str]) -> Verdict | None:
    """Return what revoked keys and authorities say, None when they say nothing."""
    certificate = read_certificate(shown.blob)
    revoked = (shown.plain, certificate.authority if certificate else b"")
    for line in mine:
        if line.marker == REVOKED and line.blob in revoked:
            return Verdict(State.REVOKED, line)
    bad: Verdict | None = None
    for line in mine:
        if certificate is not None and line.marker == AUTHORITY and line.blob == certificate.authority:
            flaw = certificate.flaw(certified)
            if not flaw:
                return Verdict(State.TRUSTED, line, by_authority=True)
            bad = Verdict(State.BAD_CERTIFICATE, line, flaw=flaw)
    return bad


def names_of(options: SshOptions) -> tuple[list[str], list[str], list[str]]:
    """Return ``names``, ``certified`` and ``loose`` of `judge`, as OpenSSH would look this host up."""
    if options.alias:
        return [options.alias], [options.alias], []
    name, host = host_name(options.hostname, options.port), options.hostname.lower()
    return [name], [host], [host] if name != host else []


class UserKnownHosts:
    """Files of the user and of the machine, read again only when they changed. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read: dict[Path, tuple[tuple[int, int], list[KnownLine]]] = {}

    def lines(self, files: Sequence[Path]) -> list[KnownLine]:
        """Return the lines of these files."""
        with self._lock:
            return [line for path in files for line in self._of(path)]

    def _of(self, path: Path) -> list[KnownLine]:
        try:
            status = path.stat()
        except OSError:
            return []
        stamp = (status.st_mtime_ns, status.st_size)
        if self._read.get(path, (None,))[0] != stamp:
            self._read[path] = (stamp, known_lines([path]))
        return self._read[path][1]

    def add(self, options: SshOptions, shown: ShownKey) -> None:
        """Remember a new host where OpenSSH would (`StrictHostKeyChecking accept-new`). A full disk is no error."""
        path = next(iter(options.known_hosts), None)
        if path is None or str(path) == os.devnull:
            return
        name = names_of(options)[0][0]
        if options.is_on("hashknownhosts"):
            salt = secrets.token_bytes(20)
            digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
            name = f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"
        with self._lock, suppress(OSError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "w") as file:
                file.write(f"{name} {shown.get_name()} {shown.get_base64()}\n")
