"""What a robot says about itself to a hub: a report, and the envelope in which it is signed with the SSH host key.

A hub stores envelopes and hands them on as they are. Whoever reads them verifies the signature against the fleet's
pinned host keys: a hub can hide or delay a report, never make one.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from dataclasses import dataclass, field
from typing import Dict, Optional, Tuple

from runtime.contract.codec import SCHEMA, canonical_json, from_json
from runtime.contract.json_decoder import ContractError, Limits
from runtime.contract.node.attestation import Attestation
from runtime.contract.robot.pull_state import PullState

__all__ = ["PullState", "Report", "SignedReport", "pack", "signed_bytes", "unpack"]

NAMESPACE = "jetfleet.report"
REPORTS_PATH = "/v1/reports"
#: An envelope as it is sent, and a report after it was unpacked. What is larger is refused before it is read.
MAX_ENVELOPE, MAX_REPORT = 256 * 1024, 2 * 1024 * 1024
ENVELOPE_LIMITS = Limits(size=MAX_ENVELOPE, depth=3, values=50, text=MAX_ENVELOPE)
REPORT_LIMITS = Limits(size=MAX_REPORT, depth=24, values=60000, text=MAX_REPORT)


@dataclass(frozen=True)
class Report:
    """What ``fleet-updater attest`` says, and how the robot stands to its fleet."""

    fleet: str
    robot: str
    sequence: int
    """Grows with every report of this robot, over restarts too: a replayed report is older than what is known."""
    at: float
    """Unix seconds by the robot's clock."""
    attestation: Attestation
    pull: Optional[PullState] = None
    """None for a robot that SSH reaches."""
    link: str = "pull"
    """``pull`` | ``ssh``."""
    samples: Dict[str, Tuple[float, ...]] = field(default_factory=dict)
    """Name → values of the minutes since the report before, oldest first."""
    dropped: int = 0
    """Reports that were dropped from the robot's queue since the one before, oldest first."""
    schema: int = SCHEMA


@dataclass(frozen=True)
class SignedReport:
    """The envelope: what is sent, stored and handed on as it is."""

    fleet: str
    robot: str
    sequence: int
    body: str
    """Base64 of the zlib-compressed canonical JSON of the :class:`Report`."""
    key: str
    """The public host key that signed: ``ssh-ed25519 AAAA…`` without comment."""
    signature: str
    """Armored SSH signature, as ``ssh-keygen -Y sign`` writes it, over :func:`signed_bytes`."""
    schema: int = SCHEMA


def signed_bytes(fleet: str, robot: str, sequence: int, body: str) -> bytes:
    """Return the bytes that are signed: names and number in the open, and the body as it is sent."""
    return canonical_json({"fleet": fleet, "robot": robot, "sequence": sequence, "body": body})


def pack(report: Report) -> str:
    """Return a report as an envelope's body. Raises ContractError when it is larger than a hub takes."""
    plain = canonical_json(report)
    body = base64.b64encode(zlib.compress(plain, 6)).decode("ascii")
    if len(plain) > MAX_REPORT or len(body) > MAX_ENVELOPE - 8192:
        raise ContractError("Report: {} bytes, {} compressed: more than a hub takes".format(len(plain), len(body)))
    return body


def unpack(body: str) -> Report:
    """Return the report of an envelope's body; bounded while it is unpacked. Raises ContractError."""
    try:
        packed = base64.b64decode(body, validate=True)
        unpacker = zlib.decompressobj()
        plain = unpacker.decompress(packed, MAX_REPORT + 1)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise ContractError("SignedReport.body: not a packed report: {}".format(error)) from error
    if len(plain) > MAX_REPORT or not unpacker.eof:
        raise ContractError("SignedReport.body: more than {} bytes, or cut off".format(MAX_REPORT))
    return from_json(Report, plain, REPORT_LIMITS)
