"""The agent's HTTP: `/healthz`, `/readyz`, `/report`, `/metrics` and `/verify`, on the loopback address only.

In a handover two agents run, and the port belongs to the one whose container serves. Each answers the same pages on a
Unix socket of its own, in the folder that the robot's host shares.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import HTTPServer
from pathlib import Path
from socketserver import UnixStreamServer

from runtime.contract.bounded_http import BoundedHandler, BoundedServer
from runtime.contract.codec import to_dict
from runtime.contract.judgement import complaints
from runtime.contract.node.health import HealthReport

ADDRESS = "127.0.0.1"
REQUEST_TIMEOUT_S = 5.0
"""A client that takes longer to send its request, or to read an answer, loses its connection."""

_JSON = "application/json"
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
Page = tuple[HTTPStatus, str, bytes]
Render = Callable[[str], Page]
"""Query (what stands after ``?``) → page."""


class HealthServer:
    """Serves from threads of its own, so that it answers whatever the agent's loop and the executor do."""

    def __init__(self, where: int | Path, pages: dict[str, Render]) -> None:
        """``where``: a TCP port, or the path of a Unix socket, which is made again. Raises OSError."""
        self._server: _Server | _SocketServer
        self.port = 0
        """The TCP port in use, which differs from the one asked for when that was 0."""
        if isinstance(where, Path):
            where.unlink(missing_ok=True)
            self._server = _SocketServer(str(where), _handler(pages))
        else:
            self._server = _Server((ADDRESS, where), _handler(pages))
            self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, name="health-http", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    @property
    def connections(self) -> int:
        """How many are open now."""
        return self._server.connections

    def close(self) -> None:
        """Stop answering and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(REQUEST_TIMEOUT_S)


def pages(
    newest: Callable[[], HealthReport], stuck_s: Callable[[], float], metrics: Callable[[], bytes]
) -> dict[str, Render]:
    """Return the pages by path. ``stuck_s`` says for how many seconds the agent's own loop has not turned."""

    def healthz(query: str) -> Page:
        del query
        report, stuck = newest(), stuck_s()
        facts: dict[str, object] = {"live": report.live, "agent_stuck_s": stuck}
        return _probe(report, report.live and stuck <= 0.0, facts, complaints(report.checks))

    def readyz(query: str) -> Page:
        del query
        report = newest()
        facts: dict[str, object] = {"ready": report.in_service, "proven": report.ready}
        return _probe(report, bool(report.in_service), facts, list(report.waiting_for) or complaints(report.checks))

    def report(query: str) -> Page:
        del query
        return HTTPStatus.OK, _JSON, dump(to_dict(newest()))

    def prometheus(query: str) -> Page:
        del query
        return HTTPStatus.OK, _PROMETHEUS, metrics()

    return {"/healthz": healthz, "/readyz": readyz, "/report": report, "/metrics": prometheus}


def dump(value: object) -> bytes:
    """Return JSON values as a page's body."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8") + b"\n"


def json_page(status: HTTPStatus, value: object) -> Page:
    """Return a page of JSON."""
    return status, _JSON, dump(value)


def _probe(report: HealthReport, fine: bool, facts: dict[str, object], reasons: list[str]) -> Page:
    status = HTTPStatus.OK if fine else HTTPStatus.SERVICE_UNAVAILABLE
    return status, _JSON, dump({**facts, "state": report.state, "reasons": reasons})


class _Server(BoundedServer, HTTPServer):
    allow_reuse_address = True


class _SocketServer(BoundedServer, UnixStreamServer):
    """The same on a Unix socket."""


def _handler(routes: dict[str, Render]) -> type[BoundedHandler]:
    class Handler(BoundedHandler):
        head_s = answer_s = REQUEST_TIMEOUT_S
        server_version = "jetfleet-health"
        sys_version = ""

        def do_GET(self) -> None:  # noqa: N802
            path, _, query = self.path.partition("?")
            page = routes.get(path)
            if page is None:
                self._answer(HTTPStatus.NOT_FOUND, "text/plain", f"one of {', '.join(routes)}\n".encode())
                return
            try:
                answer = page(query)
            except Exception as error:
                said = dump({"error": f"{type(error).__name__}: {error}"})
                self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, _JSON, said)
                raise
            self._answer(*answer)

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
