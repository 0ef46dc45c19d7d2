"""Every question gets an answer, also when a page breaks, the executor dies, or many ask at once."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

import pytest

from runtime.health.http.server import HealthServer, Page, Render, json_page


@pytest.fixture(autouse=True)
def _no_sockets() -> None:
    """Instead of the tier's fixture: these tests talk to 127.0.0.1."""


RELEASE = threading.Event()


def _echoes(query: str) -> Page:
    return json_page(HTTPStatus.OK, query)


def _breaks(query: str) -> Page:
    raise ZeroDivisionError(f"asked for {query}")


def _waits(query: str) -> Page:
    del query
    RELEASE.wait(60.0)
    return json_page(HTTPStatus.OK, "done")


@pytest.fixture
def server() -> Iterator[HealthServer]:
    RELEASE.clear()
    pages: dict[str, Render] = {"/fine": _echoes, "/breaks": _breaks, "/waits": _waits}
    found = HealthServer(0, pages)
    found.start()
    yield found
    RELEASE.set()
    found.close()


def get(server: HealthServer, path: str) -> tuple[int, object]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_a_query_reaches_its_page(server: HealthServer) -> None:
    assert get(server, "/fine?seconds=3") == (200, "seconds=3")


def test_a_page_that_breaks_is_answered_with_its_reason(server: HealthServer) -> None:
    assert get(server, "/breaks?x") == (500, {"error": "ZeroDivisionError: asked for x"})
    assert get(server, "/fine")[0] == 200


def test_a_page_that_takes_long_holds_up_no_other(server: HealthServer) -> None:
    with ThreadPoolExecutor(33) as pool:
        slow = pool.submit(get, server, "/waits")
        quick = [pool.submit(get, server, "/fine") for _ in range(200)]
        assert {answer.result(60)[0] for answer in quick} == {200}
        assert not slow.done()
        RELEASE.set()
        assert slow.result(60) == (200, "done")
