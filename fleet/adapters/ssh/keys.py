"""Which keys to log in with, in the order in which OpenSSH tries them, and why others are not used."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from paramiko.pkey import PublicBlob, UnknownKeyType

from fleet.adapters.ssh.agent import Agent, AgentKey, agent_path
from fleet.adapters.ssh.certificate import CERTIFICATE
from fleet.adapters.ssh.config.options import SshOptions
from fleet.adapters.ssh.public_keys import plain_key, public_half, why_not

DEFAULT_NAMES = ("id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk", "id_xmss", "id_dsa")


@dataclass(frozen=True)
class Candidate:
    """One key to try."""

    key: Any
    """A paramiko key, or an AgentKey."""
    shown: str

    @property
    def ask_first(self) -> bool:
        """A key in an agent may need a touch: sign only when the server wants it."""
        return isinstance(self.key, AgentKey)


class FileKeys:
    """Private keys in files, read once for all robots. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read: dict[tuple[str, int, int], paramiko.PKey] = {}

    def load(self, path: Path) -> paramiko.PKey:
        """Return the key. Raises OSError, SSHException, UnknownKeyType, ValueError, TypeError."""
        status = path.stat()
        at = (str(path), status.st_mtime_ns, status.st_size)
        with self._lock:
            if at not in self._read:
                key = paramiko.PKey.from_path(path)
                key.public_blob = None
                self._read[at] = key
            return copy.copy(self._read[at])


@dataclass
class KeyRing:
    """The keys for one login. ``candidates`` is read until one is accepted; only then is ``notes`` complete."""

    options: SshOptions
    files: FileKeys
    named: Path | None = None
    """The manifest's ``identity_file``: tried first."""
    notes: list[str] = field(default_factory=list)
    """Keys and agents that are not used, and why."""
    locked: list[str] = field(default_factory=list)
    """Key files that need a passphrase."""
    _agent: Agent | None = None

    def candidates(self) -> Iterator[Candidate]:
        """Yield keys, each once."""
        told: set[bytes] = set()
        for candidate in self._all():
            shown = _shown_bytes(candidate.key)
            if shown not in told:
                told.add(shown)
                yield candidate

    def _all(self) -> Iterator[Candidate]:
        if self.named is not None:
            # A file that opens by itself needs no agent.
            held = self._from_file(self.named, quietly=True)
            yield from held
            if not held:
                yield from self._of_file(self.named, self._agent_keys())
        if not self.options.is_on("pubkeyauthentication", default=True):
            self.notes.append("PubkeyAuthentication is off")
            return
        agents = self._agent_keys()
        paths = [self.options.path(text) for text in self.options.identity_files]
        yield from self._certified(paths, agents)
        mentioned = [(path, public_half(path)) for path in paths]
        inside = [key for _, public in mentioned for key in agents if public and _bare(key) == public]
        yield from (Candidate(key, key.shown) for key in inside)
        if not self.options.is_on("identitiesonly"):
            yield from (Candidate(key, key.shown) for key in agents)
        for path, public in mentioned:
            if not any(public and _bare(key) == public for key in agents):
                yield from self._from_file(path)
        if self.options.text("pkcs11provider"):
            self.notes.append("PKCS11Provider is not used: give the token's keys to an agent (ssh-add -s PROVIDER)")

    def _certified(self, paths: Sequence[Path], agents: Sequence[AgentKey]) -> Iterator[Candidate]:
        """Yield keys with a `CertificateFile` that is theirs."""
        for path in self.options.certificate_files:
            certificate = self._certificate(path)
            if certificate is None:
                continue
            inner = plain_key(certificate.key_blob)
            held: list[Any] = [key for key in agents if key.blob == inner]
            if not held:
                files = [self._load(each, quietly=True) for each in paths if public_half(each) in (inner, None)]
                held = [key for key in files if key is not None and key.asbytes() == inner]
            for key in held[:1]:
                yield _with(key, certificate, f"{path}")
            if not held:
                self.notes.append(f"no key for the certificate {path}")

    def _of_file(self, path: Path, agents: Sequence[AgentKey]) -> Iterator[Candidate]:
        """Yield the agent's key for this file, or the file's own."""
        public = public_half(path)
        inside = [key for key in agents if public and _bare(key) == public and not key.is_certificate]
        for key in inside[:1]:
            yield from self._paired(path, key, f"{path} (in the agent)")
        if not inside:
            yield from self._from_file(path)

    def _from_file(self, path: Path, *, quietly: bool = False) -> list[Candidate]:
        key = self._load(path, quietly=quietly)
        return [] if key is None else list(self._paired(path, key, str(path)))

    def _paired(self, path: Path, key: Any, shown: str) -> Iterator[Candidate]:
        """Yield the key with the certificate next to it, then alone."""
        beside = path.with_name(path.name.removesuffix(".pub") + "-cert.pub")
        certificate = self._certificate(beside) if beside.exists() else None
        if certificate is not None and plain_key(certificate.key_blob) == _plain(key):
            yield _with(key, certificate, str(beside))
        yield Candidate(key, shown)

    def _load(self, path: Path, *, quietly: bool = False) -> paramiko.PKey | None:
        """Return the private key in a file, or None with a note."""
        try:
            return self.files.load(path)
        except FileNotFoundError:
            # OpenSSH's own defaults are asked for in every case: their absence is worth one word, not seven.
            is_default = path.parent.name == ".ssh" and path.name in DEFAULT_NAMES
            note = f"no {path.parent}/id_…" if is_default else f"{path} does not exist"
        except OSError as error:
            note = f"{path} cannot be read: {error.strerror or error}"
        except (paramiko.PasswordRequiredException, TypeError):
            note = f"{path} needs a passphrase and is not in the agent"
            if not quietly:
                self.locked.append(str(path))
        except (paramiko.SSHException, UnknownKeyType, UnsupportedAlgorithm, ValueError) as error:
            note = why_not(path, error)
        if not quietly and note not in self.notes:
            self.notes.append(note)
        return None

    def _certificate(self, path: Path) -> PublicBlob | None:
        try:
            blob = PublicBlob.from_string(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, IndexError) as error:
            self.notes.append(f"the certificate {path} cannot be read: {getattr(error, 'strerror', None) or error}")
            return None
        if not blob.key_type.endswith(CERTIFICATE):
            self.notes.append(f"{path} is not a certificate")
            return None
        return blob

    def _agent_keys(self) -> list[AgentKey]:
        if self._agent is not None:
            return self._agent.keys
        path, shown = agent_path(self.options)
        if path is None:
            self._note(shown)
            return []
        try:
            self._agent = Agent(path)
        except (OSError, paramiko.SSHException) as error:
            self._note(f"{shown} does not answer: {getattr(error, 'strerror', None) or error}")
            return []
        keys = self._agent.keys
        if not keys:
            self._note(f"{shown} holds no key")
        return keys

    def _note(self, words: str) -> None:
        if words not in self.notes:
            self.notes.append(words)

    def close(self) -> None:
        """Leave the agent."""
        if self._agent is not None:
            self._agent.close()


def _with(key: Any, certificate: PublicBlob, shown: str) -> Candidate:
    if isinstance(key, AgentKey):
        return Candidate(key.with_certificate(certificate), f"{shown} (key in the agent)")
    made = copy.copy(key)
    made.public_blob = certificate
    return Candidate(made, shown)


def _shown_bytes(key: Any) -> bytes:
    return bytes(key.public_blob.key_blob) if key.public_blob is not None else bytes(key.asbytes())


def _plain(key: Any) -> bytes:
    return bytes(key.asbytes())


def _bare(key: AgentKey) -> bytes:
    return plain_key(key.blob)
