"""The audit trail: one small record in the registry for every rollout, rollback and broken lock. Only ever added to."""

from __future__ import annotations

import getpass
import os
import re
import socket
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timezone

from fleet.oci.json_documents import get_record, put_record
from fleet.oci.skim import skim
from fleet.ports import Clock, LogLine, Registry
from fleet.rollout.result import RolloutResult
from runtime.contract.codec import SCHEMA
from runtime.contract.printable import printable
from runtime.contract.robot.update import COMMITTED

AUDIT_TYPE = "application/vnd.jetfleet.audit.v1+json"
ROLLOUT, ROLLBACK, LOCK_BROKEN, APPROVAL = "rollout", "rollback", "lock-broken", "approval"
SUCCEEDED, FAILED, INTERRUPTED, NOBODY_REACHED = "succeeded", "failed", "interrupted", "nobody reached"
PAUSED, ABORTED = "paused", "aborted"
_ID = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}")
#: Tags beyond those asked for that are read where some are junk.
_MORE = 64
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
    """rollout | rollback | lock-broken | approval."""
    who: str
    """``user@host`` of the operator."""
    at: float
    """Start, Unix seconds, operator's clock."""
    fleet: str
    version: str = ""
    release_digest: str = ""
    outcome: str = ""
    """succeeded | failed | interrupted | nobody reached | paused | aborted."""
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
        outcome=outcome_of(result),
        reason=printable(
            result.failed or result.outdated or result.stalled or result.stopped or result.aborted, MAX_REASON
        ),
        seconds=round(result.seconds, 3),
        selector=printable(selector),
        override=printable(override),
        counts=result.counts,
        robots=entries,
    )


def _why(result: RolloutResult) -> str:
    return result.failed or result.outdated or result.stalled or result.stopped or result.aborted


def outcome_of(result: RolloutResult) -> str:
    """Return the word of a record for how it ended."""
    if result.aborted:
        return ABORTED
    if result.interrupted:
        return INTERRUPTED
    if result.paused:
        return PAUSED
    if result.succeeded:
        return SUCCEEDED
    return NOBODY_REACHED if result.nobody_reached else FAILED


def committed(record: AuditRecord) -> int:
    """Return how many robots committed and stayed."""
    return record.counts.get(COMMITTED, 0)


def ran(record: AuditRecord) -> bool:
    """Say whether robots ran the version: one committed, or (in a record that counts no robots) it succeeded."""
    return committed(record) > 0 if record.counts else record.outcome == SUCCEEDED


def new_id(at: float) -> str:
    """Return ``20261122T101500Z-1a2b3c4d``: sorts by time, never the same twice."""
    return f"{datetime.fromtimestamp(at, timezone.utc):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"


def append(registry: Registry, prefix: str, record: AuditRecord) -> None:
    """Add a record. Raises RegistryError."""
    put_record(registry, f"{prefix}/audit", record.id, record, AUDIT_TYPE)


def history(registry: Registry, prefix: str, limit: int = 20, on_junk: LogLine = lambda _: None) -> list[AuditRecord]:
    """Return the last ``limit`` records, newest first: one request for the list, two for each record.

    What else lies there is skipped, and ``on_junk`` gets a sentence for it. Records are not signed: whoever can
    write to the registry can write one.
    """
    repository = f"{prefix}/audit"
    tags = registry.tags(repository)
    newest = sorted((tag for tag in tags if _ID.fullmatch(tag)), reverse=True)
    if strange := [tag for tag in tags if not _ID.fullmatch(tag)]:
        on_junk(f"{registry.host}/{repository}: {len(strange)} tags are no records, such as {strange[0]}")

    def load(tag: str) -> AuditRecord | None:
        found = get_record(registry, repository, tag, AuditRecord)
        if found is not None and found[0].id != tag:
            raise ValueError(f"it holds the record {found[0].id[:40]}")
        return found[0] if found else None

    records: list[AuditRecord] = []
    asked = newest[: limit + _MORE]
    while asked and len(records) < limit:
        now, asked = asked[: limit - len(records)], asked[limit - len(records) :]
        good, junk = skim(registry, repository, now, load)
        records += good
        for line in junk:
            on_junk(line)
    return records


def lock_broken(fleet: str, reason: str, clock: Clock) -> AuditRecord:
    """Return the record of a rollout lock taken from its holder."""
    now = clock.now()
    return AuditRecord(id=new_id(now), kind=LOCK_BROKEN, who=operator(), at=now, fleet=fleet, reason=reason)


def approval(fleet: str, *, version: str, release_digest: str, wave: str, reason: str, clock: Clock) -> AuditRecord:
    """Return the record of somebody who let a paused rollout go on. ``wave``: ``wave 2 of 3``."""
    now = clock.now()
    return AuditRecord(
        id=new_id(now),
        kind=APPROVAL,
        who=operator(),
        at=now,
        fleet=fleet,
        version=version,
        release_digest=release_digest,
        reason=printable(f"{wave}: {reason or 'no reason given'}", MAX_REASON),
    )
