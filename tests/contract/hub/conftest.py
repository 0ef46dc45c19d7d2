"""The same tests over both databases that a hub may have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.contract.hub.databases import PostgresServer

MakeDatabase = Callable[[], str]


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One server for a worker's tests: making one takes seconds."""
    server = PostgresServer()
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return str(tmp_path / "hub.sqlite")
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.database()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of the hub on one worker, so that one PostgreSQL is made for them."""
    for item in items:
        if "contract/hub/" in item.nodeid:
            item.add_marker(pytest.mark.xdist_group("contract-hub"))
