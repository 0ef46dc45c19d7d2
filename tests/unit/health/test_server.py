"""Every question gets an answer, also when a page breaks, the executor dies, or many ask at once."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

import pytest

from runtime.contract.bounded_http import MAX_CONNECTIONS, TOO_LONG
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


def test_many_that_say_nothing_keep_nobody_out_and_have_few_threads(server: HealthServer) -> None:
    before = threading.active_count()
    held = [socket.create_connection(("127.0.0.1", server.port), timeout=30) for _ in range(100)]
    for connection in held[::2]:
        connection.sendall(b"GET /fine HTTP/1.1\r\nX: ")
    assert get(server, "/fine?still") == (200, "still")
    assert server.connections <= MAX_CONNECTIONS
    assert threading.active_count() - before <= MAX_CONNECTIONS + 1
    for connection in held:
        connection.close()


def answered(server: HealthServer, request: bytes, then: bytes = b"") -> bytes:
    """Send ``request``, then ``then`` again and again; return what comes until the server hangs up."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection, contextlib.suppress(OSError):
        connection.sendall(request)
        ends = time.monotonic() + 60.0
        while then and time.monotonic() < ends and not select.select([connection], [], [], 0.02)[0]:
            connection.sendall(then)
        return b"".join(iter(lambda: connection.recv(65536), b""))
    return b""


def test_a_request_s_head_has_an_end(server: HealthServer) -> None:
    for request in (b"GET /" + b"x" * 100_000, b"GET /fine HTTP/1.1\r\n" + b"a: b\r\n" * 10_000):
        assert answered(server, request) in (b"", TOO_LONG)
    assert get(server, "/fine")[0] == 200


def test_a_request_that_drips_loses_its_connection(server: HealthServer, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = server._server.RequestHandlerClass
    monkeypatch.setattr(handler, "head_s", 0.5)
    assert answered(server, b"GET /fine HTTP/1.1\r\nX: ", then=b"x") == b""
    assert server.connections == 0


JUNK = (b"\x00" * 50, b"\r\n\r\n", b"GET\r\n\r\n", b"POST /fine HTTP/1.0\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n")


@pytest.mark.parametrize("junk", JUNK)
def test_junk_is_answered_or_hung_up_on(server: HealthServer, junk: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server._server.RequestHandlerClass, "head_s", 0.5)
    assert b" 200 " not in answered(server, junk)
    assert get(server, "/fine")[0] == 200
