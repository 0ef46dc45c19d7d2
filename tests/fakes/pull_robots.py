"""Robots that report, without a robot: they sign for real, in this process, as ``ssh-keygen -Y sign`` would."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fleet.signing.ssh_signature import MAGIC, HostKey, armor, read_key
from runtime.contract.node.attestation import Attestation
from runtime.contract.node.report import NAMESPACE, PullState, Report, SignedReport, pack, signed_bytes
from runtime.contract.robot.desired import Pins
from runtime.contract.robot.update import UpdateState

FLEET = "warehouse"


def ssh_string(content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + content


@dataclass
class SigningKey:
    """An ed25519 key of a host. ``seed``: the same key each time."""

    seed: str
    private: Ed25519PrivateKey = field(init=False)

    def __post_init__(self) -> None:
        self.private = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(self.seed.encode()).digest())

    @property
    def public(self) -> str:
        raw = self.private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        return raw.decode()

    @property
    def host_key(self) -> HostKey:
        return read_key(self.public)

    def sign(self, message: bytes, namespace: str = NAMESPACE) -> str:
        digest = hashlib.sha512(message).digest()
        head = ssh_string(namespace.encode()) + ssh_string(b"") + ssh_string(b"sha512")
        made = self.private.sign(MAGIC + head + ssh_string(digest))
        signature = ssh_string(b"ssh-ed25519") + ssh_string(made)
        return armor(MAGIC + (1).to_bytes(4, "big") + ssh_string(self.host_key.blob) + head + ssh_string(signature))


@dataclass
class PullRobot:
    """A robot that makes reports."""

    name: str
    fleet: str = FLEET
    key: SigningKey = field(init=False)
    sequence: int = 0

    def __post_init__(self) -> None:
        self.key = SigningKey(f"{self.fleet}/{self.name}")

    def report(
        self,
        at: float = 1.8e9,
        *,
        attestation: Attestation | None = None,
        pull: PullState | None = None,
        padding: str = "",
    ) -> SignedReport:
        """Return the next report, signed."""
        self.sequence += 1
        attested = attestation or Attestation(UpdateState(self.name, "idle", "1.0+test"), container_id=padding)
        return self.envelope(Report(self.fleet, self.name, self.sequence, at, attested, pull))

    def envelope(self, report: Report) -> SignedReport:
        body = pack(report)
        words = signed_bytes(report.fleet, report.robot, report.sequence, body)
        return SignedReport(report.fleet, report.robot, report.sequence, body, self.key.public, self.key.sign(words))


def pins_of(*robots: PullRobot, retired: tuple[str, ...] = (), fleet: str = FLEET, generation: int = 1) -> Pins:
    return Pins(fleet, generation, {robot.name: robot.key.public for robot in robots}, retired)
