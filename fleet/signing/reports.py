"""Reports of robots, held against the fleet's pinned host keys. A hub stores and hands on; it is never believed.

What a hub can do is hide reports, or show old ones. What it shows under a robot's name that the robot's pinned key did
not sign is forged, and said so by name; what is old shows its own age, as the robot signed it. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fleet.signing.ssh_signature import BadSignature, read_key, verify
from runtime.contract.codec import ContractError
from runtime.contract.node.report import NAMESPACE, Report, SignedReport, signed_bytes, unpack
from runtime.contract.printable import printable
from runtime.contract.robot.desired import Pins

VERIFIED, UNPINNED, FORGED, RETIRED, STALE, NONE = "verified", "unpinned", "forged", "retired", "stale", "none"
UNASKED = "unasked"
"""Standing of what a hub shows for a robot. ``stale``: signed by the pinned key, and older than it should be. ``none``:
it shows nothing. ``unasked``: the hub did not answer."""
MOST_SEQUENCE = 2**53 - 1
#: A robot's clock may be this much ahead of ours before its reports say nothing of when they were made.
CLOCK_S = 300.0


@dataclass(frozen=True, slots=True)
class ReportVerdict:
    """What is to be thought of what a hub shows for one robot."""

    robot: str
    standing: str
    problem: str = ""
    """Why it is not ``verified``: a sentence for people."""
    report: Report | None = None
    """Only where the robot's pinned key signed it: verified and stale ones."""
    fingerprint: str = ""
    """Of the key that made the signature; empty where none fits."""

    @property
    def counts(self) -> bool:
        """Whether it says what the robot is like now."""
        return self.standing == VERIFIED


def open_envelope(envelope: SignedReport) -> tuple[Report, str]:
    """Return an envelope's report, and the fingerprint of the key that signed it. Raises BadSignature, ContractError.

    That the key signed it is all that is said: whose key it is, pins say. Nothing is unpacked that nobody signed.
    """
    if not 0 < envelope.sequence <= MOST_SEQUENCE:
        raise ContractError(f"SignedReport.sequence: {envelope.sequence} is not a sequence number")
    key = read_key(envelope.key)
    words = signed_bytes(envelope.fleet, envelope.robot, envelope.sequence, envelope.body)
    verify(words, envelope.signature, NAMESPACE, key)
    report = unpack(envelope.body)
    outside = (envelope.fleet, envelope.robot, envelope.sequence)
    if (report.fleet, report.robot, report.sequence) != outside:
        raise ContractError("SignedReport: the report inside is of another robot, fleet or number than its envelope")
    return report, key.fingerprint


def same_key(left: str, right: str) -> bool:
    """Say whether two public keys' texts are one key; comments do not count."""
    return left.split()[:2] == right.split()[:2]


def judge_report(
    robot: str,
    envelope: SignedReport | None,
    pins: Pins,
    *,
    now: float,
    reachable_s: float,
    known: Mapping[str, int] | None = None,
) -> ReportVerdict:
    """Judge what a hub shows under the name ``robot``.

    ``now``: Unix seconds of our clock. ``reachable_s``: a report that is older is stale. ``known``: highest sequence
    that was seen of each robot before; an older one is stale, whenever it was made.
    """
    if robot in pins.retired:
        return ReportVerdict(robot, RETIRED, "it is retired: its reports count no more (fleet enroll accept)")
    if envelope is None:
        return ReportVerdict(robot, NONE, "the hub has no report of it")
    if (envelope.robot, envelope.fleet) != (robot, pins.fleet):
        whose = f"{printable(envelope.robot, 64)} of fleet {printable(envelope.fleet, 64)}"
        return ReportVerdict(robot, FORGED, f"the hub shows a report of {whose} under its name")
    try:
        report, fingerprint = open_envelope(envelope)
    except (BadSignature, ContractError) as error:
        return ReportVerdict(robot, FORGED, f"the hub shows a report that its key did not sign: {error}")
    pinned = pins.robots.get(robot)
    if pinned is None:
        why = f"its key {fingerprint} is not pinned: fleet enroll accept {robot} --fingerprint {fingerprint}"
        return ReportVerdict(robot, UNPINNED, why, fingerprint=fingerprint)
    if not same_key(pinned, envelope.key):
        why = f"signed by {fingerprint}, which is not its pinned key: reinstalled? fleet enroll accept {robot}"
        return ReportVerdict(robot, FORGED, why, fingerprint=fingerprint)
    problem = _why_stale(report, now, reachable_s, (known or {}).get(robot, 0))
    return ReportVerdict(robot, STALE if problem else VERIFIED, problem, report, fingerprint)


def _why_stale(report: Report, now: float, reachable_s: float, known: int) -> str:
    if report.sequence < known:
        return f"the hub shows report {report.sequence}, report {known} was seen before: it hides the newer ones"
    if report.at > now + CLOCK_S:
        return f"its clock is {in_words(report.at - now)} ahead of this machine's: correct it, or this one"
    if now - report.at > reachable_s:
        return f"last report {in_words(now - report.at)} ago"
    return ""


def in_words(seconds: float) -> str:
    """Return ``3 days``, ``2 h``, ``5 min`` or ``40 s``, rounded down."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size or (unit != "days" and seconds >= size):
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"
