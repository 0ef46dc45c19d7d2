"""The agent's HTTP: `/healthz`, `/readyz`, `/report` and `/metrics`, on the loopback address only."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from runtime.contract.codec import to_dict
from runtime.contract.health import LEVEL_OK, HealthReport

ADDRESS = "127.0.0.1"
REQUEST_TIMEOUT_S = 5.0
"""A client that sends or reads slower than this loses its connection."""

_JSON = "application/json"
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
Page = tuple[HTTPStatus, str, bytes]


class HealthServer:
    """Serves from threads of its own, so that it answers whatever the agent's loop and the executor do."""

    def __init__(self, port: int, pages: dict[str, Callable[[], Page]]) -> None:
        self._server = _Server((ADDRESS, port), _handler(pages))
        self._thread = threading.Thread(target=self._server.serve_forever, name="health-http", daemon=True)

    @property
    def port(self) -> int:
        """The TCP port in use, which differs from the one asked for when that was 0."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stop answering and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(REQUEST_TIMEOUT_S)


def pages(
    newest: Callable[[], HealthReport], stuck_s: Callable[[], float], metrics: Callable[[], bytes]
) -> dict[str, Callable[[], Page]]:
    """Return the pages by path. ``stuck_s`` says for how many seconds the agent's own loop has not turned."""

    def healthz() -> Page:
        report, stuck = newest(), stuck_s()
        return _probe(report, report.live and stuck <= 0.0, {"live": report.live, "agent_stuck_s": stuck})

    def readyz() -> Page:
        report = newest()
        return _probe(report, report.ready, {"ready": report.ready})

    def report() -> Page:
        return HTTPStatus.OK, _JSON, _dump(to_dict(newest()))

    def prometheus() -> Page:
        return HTTPStatus.OK, _PROMETHEUS, metrics()

    return {"/healthz": healthz, "/readyz": readyz, "/report": report, "/metrics": prometheus}


def _probe(report: HealthReport, fine: bool, facts: dict[str, object]) -> Page:
    reasons = [f"{check.name}: {check.message}" for check in report.checks if check.level != LEVEL_OK]
    status = HTTPStatus.OK if fine else HTTPStatus.SERVICE_UNAVAILABLE
    return status, _JSON, _dump({**facts, "state": report.state, "reasons": reasons})


def _dump(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8") + b"\n"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 16


def _handler(routes: dict[str, Callable[[], Page]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_TIMEOUT_S
        server_version = "jetfleet-health"
        sys_version = ""

        def do_GET(self) -> None:
            page = routes.get(self.path.partition("?")[0])
            if page is None:
                self._answer(HTTPStatus.NOT_FOUND, "text/plain", f"one of {', '.join(routes)}\n".encode())
                return
            self._answer(*page())

        def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Probes come every few seconds for ever: they are not worth a log line."""

    return Handler
