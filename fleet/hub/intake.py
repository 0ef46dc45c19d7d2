"""One report comes in: whether it is one, whether its key signed it, whether it is new; then it is kept."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from fleet.hub.database import DatabaseFull
from fleet.hub.limits import Buckets
from fleet.hub.pinned import KnownPins
from fleet.hub.store import Old, ReportStore
from fleet.ports import Clock
from fleet.signing.reports import open_envelope
from fleet.signing.ssh_signature import BadSignature
from runtime.contract.codec import ContractError, canonical_json, from_json
from runtime.contract.node.report import ENVELOPE_LIMITS, SignedReport
from runtime.contract.printable import printable

ROBOT_NAME = re.compile(r"[a-z0-9]([a-z0-9_.-]{0,61}[a-z0-9])?")
"""As in the manifest (fleet.manifest.schema.values.Name)."""
_MOST_SAID = 300


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered to a robot."""

    status: int
    document: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)


def refuse(status: int, message: str, **more: Any) -> Answer:
    """Return an answer that says no, in a sentence."""
    return Answer(status, {"error": printable(message, _MOST_SAID), **more})


class Intake:
    """Judges and keeps reports of one fleet."""

    def __init__(self, fleet: str, store: ReportStore, pins: KnownPins, clock: Clock, buckets: Buckets) -> None:
        self._fleet = fleet
        self._store = store
        self._pins = pins
        self._clock = clock
        self._buckets = buckets

    def read(self, body: bytes) -> SignedReport | Answer:
        """Return the envelope of a body, its signature checked and its report read; or why not."""
        try:
            envelope = from_json(SignedReport, body, ENVELOPE_LIMITS)
            if not ROBOT_NAME.fullmatch(envelope.robot):
                return refuse(400, f"{printable(envelope.robot, 64)!r} is no robot's name")
            if envelope.fleet != self._fleet:
                return refuse(400, f"this hub is of fleet {self._fleet}, not of {printable(envelope.fleet, 64)}")
            open_envelope(envelope)
        except (ContractError, BadSignature, RecursionError) as error:
            return refuse(400, f"not taken: {error}")
        return envelope

    def keep(self, envelope: SignedReport, fingerprint: str) -> Answer:
        """Keep what was read. Raises OutsideError when the database does not answer."""
        pins = self._pins.now()
        if pins is not None and pins.retired(envelope.robot):
            return refuse(403, f"{envelope.robot} is retired: its reports count no more")
        most = None if pins is not None and pins.fingerprint(envelope.robot) == fingerprint else self._most(pins)
        text = canonical_json(envelope).decode()
        now = self._clock.now()
        try:
            self._store.put(
                envelope.robot, fingerprint, envelope.key, envelope.sequence, text, now=now, most_robots=most
            )
        except Old as error:
            return refuse(409, f"report {error.newest} of {envelope.robot} is known", sequence=error.newest)
        except DatabaseFull as error:
            return refuse(507, error.message)
        return Answer(202, {"sequence": envelope.sequence})

    def wait_s(self, robot: str, fingerprint: str) -> int:
        """Take one of the robot's tokens; return 0, or in how many seconds it may send again."""
        return self._buckets.take(f"{robot} {fingerprint}")

    def _most(self, pins: Any) -> int:
        return self._store.keep.strangers + (len(pins.pins.robots) if pins is not None else 0)
