"""The audit trail: one small record in the registry for every rollout, rollback and broken lock. Only ever added to."""

from __future__ import annotations

import getpass
import os
import socket
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timezone

from fleet.parallel import side_by_side
from fleet.ports import Clock, Registry
from fleet.rollout.records import get_record, put_record
from fleet.rollout.result import RolloutResult
from runtime.contract.codec import SCHEMA
from runtime.contract.printable import printable

AUDIT_TYPE = "application/vnd.jetfleet.audit.v1+json"
ROLLOUT, ROLLBACK, LOCK_BROKEN = "rollout", "rollback", "lock-broken"
SUCCEEDED, FAILED, INTERRUPTED = "succeeded", "failed", "interrupted"
_PARALLEL = 8
MAX_REASON = 1000
"""Characters of a reason that are kept."""


@dataclass(frozen=True)
class RobotEntry:
    """How it ended for one robot."""

    name: str
    outcome: str
    reason: str = ""
    seconds: float = 0.0
    fetched_bytes: int = 0
    """Also 0 where the robot did not say."""


@dataclass(frozen=True)
class AuditRecord:
    """Who did what, when, and what came of it."""

    id: str
    """Tag of the record; sorts by time."""
    kind: str
    """rollout | rollback | lock-broken."""
    who: str
    """``user@host`` of the operator."""
    at: float
    """Start, Unix seconds, operator's clock."""
    fleet: str
    version: str = ""
    release_digest: str = ""
    outcome: str = ""
    """succeeded | failed | interrupted."""
    reason: str = ""
    seconds: float = 0.0
    selector: str = ""
    """Robots asked for; empty means all."""
    override: str = ""
    """The reason given for going past windows and update locks."""
    counts: dict[str, int] = field(default_factory=dict)
    robots: tuple[RobotEntry, ...] = ()
    schema: int = SCHEMA


def operator() -> str:
    """Return ``user@host`` of this process; in a container whose user has no name, its number."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def record_of(
    result: RolloutResult,
    *,
    kind: str,
    fleet: str,
    release_digest: str,
    at: float,
    selector: str = "",
    override: str = "",
) -> AuditRecord:
    """Return the record of a finished rollout that began ``at`` (Unix seconds)."""
    outcome = INTERRUPTED if result.interrupted else SUCCEEDED if result.succeeded else FAILED
    entries = tuple(
        RobotEntry(
            each.name,
            each.outcome.value,
            printable(each.reason, MAX_REASON),
            round(each.seconds, 3),
            each.fetched_bytes or 0,
        )
        for each in result.robots
    )
    return AuditRecord(
        id=new_id(at),
        kind=kind,
        who=operator(),
        at=at,
        fleet=fleet,
        version=result.version,
        release_digest=release_digest,
        outcome=outcome,
        reason=printable(result.failed or result.stalled, MAX_REASON),
        seconds=round(result.seconds, 3),
        selector=printable(selector),
        override=printable(override),
        counts=result.counts,
        robots=entries,
    )


def new_id(at: float) -> str:
    """Return ``20261122T101500Z-1a2b3c4d``: sorts by time, never the same twice."""
    return f"{datetime.fromtimestamp(at, timezone.utc):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"


def append(registry: Registry, prefix: str, record: AuditRecord) -> None:
    """Add a record. Raises RegistryError."""
    put_record(registry, f"{prefix}/audit", record.id, record, AUDIT_TYPE)


def history(registry: Registry, prefix: str, limit: int = 20) -> list[AuditRecord]:
    """Return the last ``limit`` records, newest first: one request for the list, two for each record."""
    newest = sorted(registry.tags(f"{prefix}/audit"), reverse=True)[:limit]
    found = side_by_side(
        lambda tag: get_record(registry, f"{prefix}/audit", tag, AuditRecord), newest, workers=_PARALLEL
    )
    return [each[0] for each in found if each is not None]


def lock_broken(fleet: str, reason: str, clock: Clock) -> AuditRecord:
    """Return the record of a rollout lock taken from its holder."""
    now = clock.now()
    return AuditRecord(id=new_id(now), kind=LOCK_BROKEN, who=operator(), at=now, fleet=fleet, reason=reason)
