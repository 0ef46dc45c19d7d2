"""What the hub keeps, over SQLite and over PostgreSQL: order, replays, writers at once, quotas, age, versions."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, Engine, text

from fleet.errors import OutsideError, UsageError
from fleet.hub import database as databases
from fleet.hub import tables
from fleet.hub.database import DatabaseFull, open_database
from fleet.hub.store import Keep, Old, ReportStore
from tests.contract.hub.databases import PostgresServer

KEY = "ssh-ed25519 AAAA"


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    engine = open_database(database)
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> ReportStore:
    return ReportStore(engine)


def put(
    store: ReportStore, name: str, sequence: int, *, key: str = "SHA256:a", now: float = 0.0, size: int = 10
) -> None:
    store.put(name, key, KEY, sequence, f"{sequence}".ljust(size, "x"), now=now or 1000.0 + sequence)


def newest(store: ReportStore, name: str) -> list[tuple[str, int, str]]:
    rows = store.rows(name=name)
    kept = store.newest(rows)
    return [(row.fingerprint, row.sequence, kept[row.name, row.fingerprint].envelope.rstrip("x")) for row in rows]


def test_the_newest_report_is_the_one_with_the_highest_number(store: ReportStore) -> None:
    for sequence in (1, 2, 7):
        put(store, "amr-001", sequence)
    assert newest(store, "amr-001") == [("SHA256:a", 7, "7")]
    assert [kept.sequence for kept in store.history("amr-001", "SHA256:a", 2)] == [7, 2]


@pytest.mark.parametrize("again", [7, 3])
def test_a_replayed_or_older_report_changes_nothing(store: ReportStore, again: int) -> None:
    put(store, "amr-001", 3)
    put(store, "amr-001", 7)
    with pytest.raises(Old) as refused:
        put(store, "amr-001", again, now=5000.0)
    assert refused.value.newest == 7
    assert store.rows(name="amr-001")[0].received_at == 1007.0
    assert store.count()[:2] == (1, 2)


def test_a_number_may_be_as_high_as_a_robot_can_count(store: ReportStore) -> None:
    put(store, "amr-001", 2**53 - 1, now=1.0)
    assert newest(store, "amr-001")[0][1] == 2**53 - 1


def test_somebody_with_another_key_does_not_get_in_the_robots_way(store: ReportStore) -> None:
    put(store, "amr-001", 5)
    put(store, "amr-001", 2**50, key="SHA256:b", now=2000.0)
    put(store, "amr-001", 6)
    assert newest(store, "amr-001") == [("SHA256:a", 6, "6"), ("SHA256:b", 2**50, str(2**50))]


def taken_by(store: ReportStore, sequence: int) -> bool:
    try:
        put(store, "amr-001", sequence)
    except Old:
        return False
    return True


def test_writers_at_once_leave_the_highest_number_and_each_report_once(store: ReportStore, database: str) -> None:
    """Two hubs over one database, as processes behind a balancer are: each number is taken by one of them."""
    other = open_database(database)

    def write(to: ReportStore) -> list[int]:
        return [sequence for sequence in range(1, 41) if taken_by(to, sequence)]

    with ThreadPoolExecutor(3) as pool:
        taken = sorted(itertools.chain(*pool.map(write, (store, ReportStore(other), store))))
    other.dispose()
    assert len(taken) == len(set(taken))
    assert newest(store, "amr-001")[0][1] == max(taken) == 40
    assert store.count()[1] == len(taken)


def test_robots_come_in_the_order_of_their_names_page_by_page(store: ReportStore) -> None:
    for name in ("b", "a-2", "a.1", "a_3", "c", "a"):
        put(store, name, 1)
    everyone = sorted(("b", "a-2", "a.1", "a_3", "c", "a"))
    found, last = [], ""
    while page := store.rows(last, 2):
        found += [row.name for row in page]
        last = page[-1].name
    assert found == everyone


def test_postgresql_sorts_names_by_their_bytes_whatever_its_language_is(postgres: PostgresServer) -> None:
    engine = open_database(postgres.database())
    query = "SELECT collation_name FROM information_schema.columns WHERE table_name = 'robot' AND column_name = 'name'"
    with engine.connect() as connection:
        assert connection.execute(text(query)).scalar_one() == "C"
    engine.dispose()


def test_old_reports_go_and_the_newest_of_a_pinned_robot_stays(engine: Engine) -> None:
    store = ReportStore(engine, Keep(seconds=100.0, deleted_at_once=2))
    for sequence in range(1, 6):
        put(store, "amr-001", sequence, now=float(sequence))
    put(store, "stranger", 1, now=1.0, key="SHA256:s")
    pinned = {"amr-001": "SHA256:a"}
    assert store.prune(1000.0, pinned) == 2, "some at a time"
    while store.prune(1000.0, pinned):
        pass
    assert newest(store, "amr-001") == [("SHA256:a", 5, "5")]
    assert store.count()[:2] == (1, 1), "a silent stranger is forgotten"


def test_without_pins_nobody_is_forgotten(engine: Engine) -> None:
    store = ReportStore(engine, Keep(seconds=100.0))
    put(store, "amr-001", 1, now=1.0)
    assert store.prune(1000.0, None) == 0
    assert store.count()[:2] == (1, 1)


def test_a_robot_has_so_many_bytes_and_its_newest_report_always_has_a_place(engine: Engine) -> None:
    store = ReportStore(engine, Keep(bytes_each=1000))
    for sequence in range(1, 11):
        put(store, "amr-001", sequence, size=300)
    assert [kept.sequence for kept in store.history("amr-001", "SHA256:a", 50)] == [10, 9, 8]
    put(store, "amr-001", 11, size=5000)
    assert [kept.sequence for kept in store.history("amr-001", "SHA256:a", 50)] == [11]


def test_only_so_many_strangers_are_known(store: ReportStore) -> None:
    for number in range(3):
        store.put(f"x{number}", "SHA256:x", KEY, 1, "{}", now=1.0, most_robots=3)
    with pytest.raises(DatabaseFull, match="3 robots are known, and no pin names this one"):
        store.put("x3", "SHA256:x", KEY, 1, "{}", now=1.0, most_robots=3)
    store.put("x2", "SHA256:x", KEY, 2, "{}", now=1.0, most_robots=3)
    store.put("amr-001", "SHA256:a", KEY, 1, "{}", now=1.0)
    assert store.count()[0] == 4, "who is known goes on, and a pinned robot always comes in"


def test_a_writer_that_dies_between_its_statements_leaves_nothing(
    engine: Engine, store: ReportStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "amr-001", 1)

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "_trim", dies)
    with pytest.raises(KeyboardInterrupt):
        put(store, "amr-001", 2)
    assert newest(ReportStore(engine), "amr-001") == [("SHA256:a", 1, "1")]
    put(ReportStore(engine), "amr-001", 2)


# ── versions of the tables ───────────────────────────────────────────────────────────────────────────────────────


def test_an_older_database_is_brought_up_by_the_steps_that_it_lacks(engine: Engine) -> None:
    def second(connection: Connection) -> None:
        connection.execute(text("ALTER TABLE robot ADD COLUMN note TEXT"))

    put(ReportStore(engine), "amr-001", 1)
    with engine.begin() as connection:
        assert tables.migrate(connection, [*tables.STEPS, second]) == 1
    with engine.begin() as connection:
        assert tables.migrate(connection, [*tables.STEPS, second]) == 2
        assert connection.execute(text("SELECT name, note FROM robot")).all() == [("amr-001", None)]


def test_a_step_that_fails_leaves_the_database_as_it_was(engine: Engine) -> None:
    def fails(connection: Connection) -> None:
        connection.execute(text("CREATE TABLE half (n INTEGER)"))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), engine.begin() as connection:
        tables.migrate(connection, [*tables.STEPS, fails])
    with engine.begin() as connection:
        assert tables.migrate(connection) == 1
        assert not tables.inspect(connection).has_table("half")


def test_a_database_of_a_newer_hub_is_left_alone(engine: Engine, database: str) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE schema_version SET version = 99"))
    with pytest.raises(OutsideError, match="of a newer hub: version 99 of its tables, this hub knows 1"):
        open_database(database)


def test_hubs_that_begin_at_once_make_the_tables_once(database: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        engines = list(pool.map(open_database, [database] * 4))
    for engine in engines:
        ReportStore(engine).ready()
        engine.dispose()


def test_a_database_without_its_tables_is_not_ready(engine: Engine, store: ReportStore) -> None:
    store.ready()
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE robot"))
    with pytest.raises(OutsideError, match="does not answer well"):
        store.ready()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://x/y", "keeps its reports in no mysql database"),
        ("sqlite://", "keeps its reports in no sqlite database"),
        ("/no/such/folder/hub.sqlite", "/no/such/folder is no folder"),
        ("://", "URL cannot be read"),
    ],
)
def test_what_is_no_database_is_refused(url: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        open_database(url)


def test_a_database_that_does_not_answer_is_named_without_its_password() -> None:
    with pytest.raises(OutsideError) as refused:
        open_database("postgresql://hub:secret@127.0.0.1:1/hub")
    assert "postgresql+psycopg://hub:***@127.0.0.1:1/hub does not answer well" in refused.value.message
    assert "secret" not in refused.value.message


def test_a_full_disk_is_said_as_one() -> None:
    assert databases._FULL.search("(sqlite3.OperationalError) database or disk is full")
    assert databases._FULL.search('could not extend file "base/1": No space left on device')
