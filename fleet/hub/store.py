"""What the hub keeps: reports as they came, the newest of each robot for ever, older ones for a while."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, and_, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from fleet.errors import OutsideError
from fleet.hub.database import DatabaseFull, problems
from fleet.hub.tables import check, reports, robots

_READS = {"reads": True}
_ROWS = select(robots.c.name, robots.c.fingerprint, robots.c.sequence, robots.c.received_at, robots.c.first_seen_at)
_NEWEST = and_(
    reports.c.name == robots.c.name,
    reports.c.fingerprint == robots.c.fingerprint,
    reports.c.sequence == robots.c.sequence,
)
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Keep:
    """How much is kept."""

    seconds: float = 7 * 86400.0
    """Reports older than this are deleted, but for each robot's newest."""
    bytes_each: int = 32 * 1024 * 1024
    """Of reports of one robot; the oldest are deleted first, the newest never."""
    strangers: int = 1000
    """Robots whose key nobody pinned."""
    bytes_stranger: int = 512 * 1024
    """As ``bytes_each``, of each of those."""
    deleted_at_once: int = 2000


@dataclass(frozen=True, slots=True)
class Row:
    """A robot with one key, as the hub knows it."""

    name: str
    fingerprint: str
    sequence: int
    """Of the newest report."""
    received_at: float
    """Of the newest report, Unix seconds of the hub's clock."""
    first_seen_at: float


@dataclass(frozen=True, slots=True)
class Kept:
    """One report as it came."""

    sequence: int
    received_at: float
    envelope: str
    """JSON of a SignedReport."""


class Old(Exception):
    """A report with a number that is not above the newest one's."""

    def __init__(self, newest: int) -> None:
        super().__init__(f"report {newest} is known")
        self.newest = newest


class ReportStore:
    """Reports in a database. Several processes may use one: an order of reports is decided by the database."""

    def __init__(self, engine: Engine, keep: Keep | None = None) -> None:
        self._engine = engine
        self.keep = keep or Keep()
        # SQLite has one writer: threads that wait here come in turn, those that wait in it look now and then.
        single = engine.dialect.name == "sqlite"
        self._turn: AbstractContextManager[Any] = threading.Lock() if single else nullcontext()

    def put(
        self,
        name: str,
        fingerprint: str,
        host_key: str,
        sequence: int,
        envelope: str,
        *,
        now: float,
        most_robots: int | None = None,
    ) -> None:
        """Keep a report. Raises Old for a replayed or older one, DatabaseFull, OutsideError.

        ``most_robots``: for a key that nobody pinned: a new one is refused when so many are known, and little is kept.
        """
        most_bytes = self.keep.bytes_each if most_robots is None else self.keep.bytes_stranger
        report = {
            "name": name,
            "fingerprint": fingerprint,
            "sequence": sequence,
            "received_at": now,
            "size": len(envelope),
            "envelope": envelope,
        }
        with problems(self._engine):
            for _attempt in range(_TRIES):
                if self._written(report, host_key, most_robots, most_bytes):
                    return
        raise OutsideError(f"{name} could not be written: its row changes all the time", hint="let it send again")

    def _written(self, report: Mapping[str, Any], host_key: str, most_robots: int | None, most_bytes: int) -> bool:
        """Write all of it or nothing. False: another hub wrote the robot's first row at the same moment."""
        try:
            with self._turn, self._engine.begin() as connection:
                self._advance(connection, report, host_key, most_robots)
                connection.execute(insert(reports).values(**report))
                self._trim(connection, report, most_bytes)
        except IntegrityError:
            return False
        return True

    def _advance(
        self, connection: Connection, report: Mapping[str, Any], host_key: str, most_robots: int | None
    ) -> None:
        """Move the robot's newest number up, in the row that other writers wait for. Raises Old, DatabaseFull."""
        name, fingerprint, sequence, now = (report[k] for k in ("name", "fingerprint", "sequence", "received_at"))
        this = and_(robots.c.name == name, robots.c.fingerprint == fingerprint)
        newer = update(robots).where(this, robots.c.sequence < sequence).values(sequence=sequence, received_at=now)
        if connection.execute(newer).rowcount:
            return
        newest = connection.execute(select(robots.c.sequence).where(this)).scalar_one_or_none()
        if newest is not None:
            raise Old(int(newest))
        known = 0
        if most_robots is not None:
            known = connection.execute(select(func.count()).select_from(robots)).scalar_one()
        if most_robots is not None and known >= most_robots:
            raise DatabaseFull(
                f"{known} robots are known, and no pin names this one",
                hint="accept those that wait (fleet enroll list); others are forgotten when they are silent",
            )
        connection.execute(
            insert(robots).values(
                name=name,
                fingerprint=fingerprint,
                host_key=host_key,
                sequence=sequence,
                received_at=now,
                first_seen_at=now,
            )
        )

    def _trim(self, connection: Connection, report: Mapping[str, Any], most: int) -> None:
        this = and_(reports.c.name == report["name"], reports.c.fingerprint == report["fingerprint"])
        held = connection.execute(select(func.sum(reports.c.size)).where(this)).scalar_one()
        if held is None or held <= most:
            return
        rows = connection.execute(select(reports.c.id, reports.c.size).where(this).order_by(reports.c.id.desc()))
        kept, over = 0, []
        for identity, size in rows:
            kept += size
            if kept > most:
                over.append(identity)
        connection.execute(
            delete(reports).where(this, reports.c.id.in_(over), reports.c.sequence != report["sequence"])
        )

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────

    def rows(self, after: str = "", limit: int = 500, *, name: str | None = None) -> list[Row]:
        """Return robots in the order of their names: those after a name, at most ``limit``, or those of one name."""
        where = robots.c.name == name if name is not None else robots.c.name > after
        query = _ROWS.where(where).order_by(robots.c.name, robots.c.first_seen_at, robots.c.fingerprint).limit(limit)
        with problems(self._engine), self._reading() as connection:
            return [Row(*row) for row in connection.execute(query)]

    def newest(self, chosen: Sequence[Row]) -> dict[tuple[str, str], Kept]:
        """Return the newest report of each of these robots, by name and fingerprint."""
        if not chosen:
            return {}
        columns = (robots.c.name, robots.c.fingerprint, reports.c.sequence, reports.c.received_at, reports.c.envelope)
        query = select(*columns).join_from(robots, reports, _NEWEST).where(robots.c.name.in_({r.name for r in chosen}))
        wanted = {(row.name, row.fingerprint) for row in chosen}
        with problems(self._engine), self._reading() as connection:
            found = {(row[0], row[1]): Kept(row[2], row[3], row[4]) for row in connection.execute(query)}
        return {which: kept for which, kept in found.items() if which in wanted}

    def history(self, name: str, fingerprint: str, limit: int) -> list[Kept]:
        """Return reports of a robot, newest first."""
        query = (
            select(reports.c.sequence, reports.c.received_at, reports.c.envelope)
            .where(reports.c.name == name, reports.c.fingerprint == fingerprint)
            .order_by(reports.c.sequence.desc())
            .limit(limit)
        )
        with problems(self._engine), self._reading() as connection:
            return [Kept(*row) for row in connection.execute(query)]

    def count(self) -> tuple[int, int, int]:
        """Return how many robots and reports there are, and the reports' bytes."""
        with problems(self._engine), self._reading() as connection:
            known = connection.execute(select(func.count()).select_from(robots)).scalar_one()
            kept, size = connection.execute(select(func.count(), func.sum(reports.c.size))).one()
            return int(known), int(kept), int(size or 0)

    def ready(self) -> None:
        """Raise OutsideError unless the database answers."""
        with problems(self._engine), self._reading() as connection:
            check(connection)

    def prune(self, now: float, pinned: Mapping[str, str] | None) -> int:
        """Delete reports that were kept long enough, some at a time; return how many.

        The newest of a robot stays for as long as a pin names it. ``pinned``: robot → fingerprint; None where pins are
        not known: then everybody's newest stays.
        """
        if pinned is not None:
            for row in self._silent(now - self.keep.seconds):
                if pinned.get(row.name) != row.fingerprint:
                    self.forget(row.name, row.fingerprint)
        newest = select(reports.c.id).join_from(reports, robots, _NEWEST)
        old = (
            select(reports.c.id)
            .where(reports.c.received_at < now - self.keep.seconds, reports.c.id.not_in(newest))
            .limit(self.keep.deleted_at_once)
        )
        with problems(self._engine), self._engine.begin() as connection:
            found = list(connection.execute(old).scalars())
            return int(connection.execute(delete(reports).where(reports.c.id.in_(found))).rowcount) if found else 0

    def forget(self, name: str, fingerprint: str) -> None:
        """Delete a robot with this key, and its reports."""
        with problems(self._engine), self._engine.begin() as connection:
            for table in (reports, robots):
                connection.execute(delete(table).where(table.c.name == name, table.c.fingerprint == fingerprint))

    def _silent(self, since: float) -> list[Row]:
        query = _ROWS.where(robots.c.received_at < since)
        with problems(self._engine), self._reading() as connection:
            return [Row(*row) for row in connection.execute(query)]

    def _reading(self) -> Connection:
        return self._engine.connect().execution_options(**_READS)
