"""Which keys to log in with, in the order in which OpenSSH tries them, and why others are not used."""

from __future__ import annotations

import base64
import copy
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from paramiko.pkey import PublicBlob, UnknownKeyType

from fleet.adapters.ssh.agent import Agent, AgentKey, agent_path
from fleet.adapters.ssh.certificate import CERTIFICATE
from fleet.adapters.ssh.options import SshOptions

DEFAULT_NAMES = ("id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk", "id_xmss", "id_dsa")
_MAGIC = b"openssh-key-v1\0"


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
        mentioned = [(path, _public(path)) for path in paths]
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
                files = [self._load(each, quietly=True) for each in paths if _public(each) in (inner, None)]
                held = [key for key in files if key is not None and key.asbytes() == inner]
            for key in held[:1]:
                yield _with(key, certificate, f"{path}")
            if not held:
                self.notes.append(f"no key for the certificate {path}")

    def _of_file(self, path: Path, agents: Sequence[AgentKey]) -> Iterator[Candidate]:
        """Yield the agent's key for this file, or the file's own."""
        public = _public(path)
        inside = [key for key in agents if public and _bare(key) == public and not key.is_certificate]
        for key in inside[:1]:
            yield from self._paired(path, key, f"{path} (in the agent)")
        if not inside:
            yield from self._from_file(path)

    def _from_file(self, path: Path, *, quietly: bool = False) -> list[Candidate]:
        key = self._load(path, quietly=quietly)
        return [] if key is None else list(self._paired(path, key, str(path)))

    def _paired(self, path: Path, key: Any, shown: str) -> Iterator[Candidate]:
        """Yield the key with the certificate beside it, then alone."""
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
            note = _why_not(path, error)
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


def _public(path: Path) -> bytes | None:
    """Return the public half for a file: it may be one itself, lie beside, or stand in front of a locked key."""
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


def _why_not(path: Path, error: Exception) -> str:
    public = _public(path)
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
