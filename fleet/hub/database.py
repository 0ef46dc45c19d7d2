"""Opens the hub's database: a SQLite file, or PostgreSQL by URL. What goes wrong is said with what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from fleet.errors import OutsideError, UsageError
from fleet.hub.tables import migrate
from runtime.contract.printable import printable

_BUSY_S = 20.0
"""How long a writer waits for another one on SQLite."""
_ANSWER_MS = 20000
_FULL = re.compile(r"disk is full|no space left|could not extend file|disk quota|disk i/o error", re.IGNORECASE)


class DatabaseFull(OutsideError):
    """There is no space for another report."""


def open_database(url: str) -> Engine:
    """Return the database behind a file's path, ``sqlite:///FILE`` or ``postgresql://…``, its tables up to date.

    Raises UsageError for a URL that is none, OutsideError when the database does not answer or is of a newer hub.
    """
    engine = _engine(url)
    with problems(engine), engine.begin() as connection:
        migrate(connection)
    return engine


def _engine(url: str) -> Engine:
    hint = "give a file's path, or postgresql://USER@HOST/DATABASE (the password in ~/.pgpass or PGPASSWORD)"
    if "://" not in url:
        url = f"sqlite:///{Path(url).absolute()}"
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise UsageError("the database's URL cannot be read", hint=hint) from error
    if parsed.get_backend_name() == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
        options = {"connect_timeout": 10, "options": f"-c statement_timeout={_ANSWER_MS}"}
        return create_engine(parsed, pool_size=8, max_overflow=8, pool_pre_ping=True, connect_args=options)
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        raise UsageError(f"a hub keeps its reports in no {parsed.get_backend_name()} database", hint=hint)
    if not Path(parsed.database).parent.is_dir():
        raise UsageError(f"{Path(parsed.database).parent} is no folder", hint="make it, or name another file")
    engine = create_engine(parsed, connect_args={"timeout": _BUSY_S})
    event.listen(engine, "connect", _sqlite_settings)
    event.listen(engine, "begin", _sqlite_begin)
    return engine


def _sqlite_settings(connection: Any, _record: Any) -> None:
    """Readers and one writer at a time do not wait for each other; what was acknowledged survives a power cut."""
    connection.isolation_level = None  # transactions are begun below: the driver's own begin too late
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "journal_size_limit=67108864"):
        connection.execute(f"PRAGMA {pragma}")


def _sqlite_begin(connection: Connection) -> None:
    """Take the writer's turn at once: a transaction that reads first and then writes would fail instead of waiting."""
    connection.exec_driver_sql("BEGIN" if connection.get_execution_options().get("reads") else "BEGIN IMMEDIATE")


@contextmanager
def problems(engine: Engine) -> Iterator[None]:
    """Say what a database's errors mean. Raises DatabaseFull, OutsideError."""
    try:
        yield
    except SQLAlchemyError as error:
        where = engine.url.render_as_string(hide_password=True)
        cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        said = printable(str(cause), 300)
        if _FULL.search(said):
            raise DatabaseFull(
                f"{where} has no space left: {said}", hint="make space, or keep reports for less (--keep)"
            ) from error
        raise OutsideError(
            f"{where} does not answer well: {said}", hint="check that it runs, and who may write there"
        ) from error
