"""The hub's tables, and the numbered steps that bring a database of an earlier hub to them.

A step is never changed once it is released: the next change is a step of its own. Each runs in one transaction with the
number that it sets, so that a hub that dies in it leaves the database as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Float,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    func,
    insert,
    inspect,
    select,
    text,
    update,
)

from fleet.errors import OutsideError

metadata = MetaData()
#: Names in the order of their bytes, whatever language a PostgreSQL server sorts by: pages are cut by it.
_NAME = Text().with_variant(Text(collation="C"), "postgresql")

#: Robots by name and key: who posts under a robot's name with a key of his own fills a row of his own.
robots = Table(
    "robot",
    metadata,
    Column("name", _NAME, primary_key=True),
    Column("fingerprint", Text, primary_key=True),
    Column("host_key", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),  # newest
    Column("received_at", Float, nullable=False),  # of the newest, Unix seconds of the hub's clock
    Column("first_seen_at", Float, nullable=False),
)
reports = Table(
    "report",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("name", _NAME, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("received_at", Float, nullable=False),
    Column("size", Integer, nullable=False),  # bytes of the envelope
    Column("envelope", Text, nullable=False),  # canonical JSON of a SignedReport
    UniqueConstraint("name", "fingerprint", "sequence"),
    Index("report_received", "received_at"),
)
_version = Table("schema_version", MetaData(), Column("version", Integer, nullable=False))


def _first(connection: Connection) -> None:
    metadata.create_all(connection)


STEPS: Sequence[Callable[[Connection], None]] = (_first,)
"""Step n brings version n to n + 1."""
_LOCK = 6218317  # any number, the same in every hub: PostgreSQL's advisory lock


def migrate(connection: Connection, steps: Sequence[Callable[[Connection], None]] = STEPS) -> int:
    """Bring the database to the newest tables inside the connection's transaction; return the version it had.

    Several hubs may begin at once: one of them migrates, the others wait. Raises OutsideError for a database of a newer
    hub.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    had = _found(connection)
    if had > len(steps):
        raise OutsideError(
            f"the database is of a newer hub: version {had} of its tables, this hub knows {len(steps)}",
            hint="update this hub, or give it the backup that was made before the newer one began (docs/hub.md)",
        )
    for number in range(had, len(steps)):
        steps[number](connection)
        connection.execute(update(_version).values(version=number + 1))
    return had


def _found(connection: Connection) -> int:
    if not inspect(connection).has_table("schema_version"):
        _version.create(connection)
        connection.execute(insert(_version).values(version=0))
        return 0
    return int(connection.execute(select(_version.c.version)).scalar_one())


def check(connection: Connection) -> None:
    """Raise a database error unless it answers and has its tables."""
    connection.execute(text("SELECT 1 FROM robot LIMIT 1"))
