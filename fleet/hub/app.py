"""The hub's HTTP: robots post signed reports, readers get them. Every answer that says no is a sentence.

Bodies, heads and pages are bounded; database and signatures are worked on in threads, so that a slow one holds up
nobody else's connection.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fleet.errors import OutsideError
from fleet.hub.database import DatabaseFull
from fleet.hub.intake import ROBOT_NAME, Answer, Intake, refuse
from fleet.hub.limits import Buckets, HubLimits
from fleet.hub.metrics import HubMetrics
from fleet.hub.pinned import KnownPins
from fleet.hub.reading import Reading
from fleet.hub.store import ReportStore
from fleet.ports import Clock, LogLine
from fleet.signing.ssh_signature import read_key
from runtime.contract.node.report import MAX_ENVELOPE, REPORTS_PATH

Handler = Callable[[Request], Awaitable[Response]]
_DIGITS = 6


class Hub:
    """The parts of one hub process, and the application over them."""

    def __init__(
        self,
        fleet: str,
        store: ReportStore,
        pins: KnownPins,
        clock: Clock,
        *,
        token: str = "",
        limits: HubLimits | None = None,
        say: LogLine = lambda _line: None,
    ) -> None:
        """``token``: readers have to show it; empty: anybody who reaches the hub may read."""
        self.limits = limits or HubLimits()
        self.store, self.pins, self.clock, self.say = store, pins, clock, say
        self._token = token.encode()
        self._metrics = HubMetrics()
        self._addresses = Buckets(self.limits.address_rate, self.limits.address_burst, clock.monotonic)
        robots = Buckets(self.limits.robot_rate, self.limits.robot_burst, clock.monotonic)
        self._intake = Intake(fleet, store, pins, clock, robots)
        self._reading = Reading(store, pins, self.limits)

    def application(self) -> Starlette:
        """Return the ASGI application."""
        reads: dict[str, Handler] = {
            "/v1/robots": self._robots,
            "/v1/robots/{name}": self._robot,
            "/v1/robots/{name}/reports": self._reports,
            "/v1/waiting": self._waiting,
            "/metrics": self._metrics_text,
        }
        routes = [Route(path, self._guarded(handler), methods=["GET"]) for path, handler in reads.items()]
        routes += [
            Route(REPORTS_PATH, self._post, methods=["POST"]),
            Route("/healthz", self._healthz, methods=["GET"]),
            Route("/readyz", self._readyz, methods=["GET"]),
        ]
        return Starlette(routes=routes, exception_handlers={HTTPException: _not_there, OutsideError: self._outside})

    def maintain(self) -> None:
        """Read pins again, delete what is old, count. Call it now and then; raises OutsideError."""
        self.pins.refresh()
        known = self.pins.now()
        deleted = self.store.prune(self.clock.now(), known.fingerprints if known else None)
        self._metrics.pruned.inc(deleted)
        robots, kept, size = self.store.count()
        self._metrics.robots.set(robots)
        self._metrics.kept.set(kept)
        self._metrics.bytes.set(size)
        self._metrics.waiting.set(len(self._reading.waiting()))
        self._metrics.pins_problem.set(bool(self.pins.problem))

    # ── reports come in ──────────────────────────────────────────────────────────────────────────────────────────

    async def _post(self, request: Request) -> Response:
        answer = await self._take(request)
        self._metrics.reports.labels(str(answer.status)).inc()
        return JSONResponse(answer.document, answer.status, answer.headers)

    async def _take(self, request: Request) -> Answer:
        wait_s = self._addresses.take(request.client.host if request.client else "")
        if wait_s:
            return _later(wait_s, "too many requests from this address")
        body = await self._body(request)
        if isinstance(body, Answer):
            return body
        began = time.monotonic()
        try:
            return await self._judge(body)
        finally:
            self._metrics.seconds.observe(time.monotonic() - began)

    async def _judge(self, body: bytes) -> Answer:
        envelope = await run_in_threadpool(self._intake.read, body)
        if isinstance(envelope, Answer):
            return envelope
        fingerprint = read_key(envelope.key).fingerprint
        wait_s = self._intake.wait_s(envelope.robot, fingerprint)
        if wait_s:
            return _later(wait_s, f"too many reports of {envelope.robot}")
        return await run_in_threadpool(self._intake.keep, envelope, fingerprint)

    async def _body(self, request: Request) -> bytes | Answer:
        """Return the body, or the answer to one that is too large, too slow, or not sent to its end."""
        large = refuse(413, f"a report has at most {MAX_ENVELOPE} bytes")
        length = request.headers.get("content-length", "")
        if length.isdigit() and int(length[:12]) > MAX_ENVELOPE:
            return large
        parts, size = [], 0
        try:
            with anyio.fail_after(self.limits.body_s):
                async for part in request.stream():
                    parts.append(part)
                    size += len(part)
                    if size > MAX_ENVELOPE:
                        return large
        except TimeoutError:
            return refuse(408, f"the report did not arrive within {self.limits.body_s:g} s")
        except ClientDisconnect:
            return refuse(400, "the connection ended before the report did")
        return b"".join(parts)

    # ── readers ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _guarded(self, handler: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            wait_s = self._addresses.take(request.client.host if request.client else "")
            if wait_s:
                answer = _later(wait_s, "too many requests from this address")
                response: Response = JSONResponse(answer.document, answer.status, answer.headers)
            elif not self._may_read(request):
                headers = {"WWW-Authenticate": "Bearer"}
                response = JSONResponse({"error": "reading needs the hub's token"}, 401, headers)
            else:
                response = await handler(request)
            self._metrics.reads.labels(str(response.status_code)).inc()
            return response

        return guarded

    def _may_read(self, request: Request) -> bool:
        kind, _, shown = request.headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(shown.strip().encode("utf-8", "replace"), self._token)
        return not self._token or (kind.lower() == "bearer" and right)

    async def _robots(self, request: Request) -> Response:
        after, limit = request.query_params.get("after", ""), _number(request, "limit", self.limits.page)
        if after and not ROBOT_NAME.fullmatch(after):
            raise HTTPException(400, "after: no robot's name")
        page = await run_in_threadpool(self._reading.page, after, limit)
        headers = {"ETag": page.etag, "Cache-Control": "no-cache"}
        if page.etag in [each.strip() for each in request.headers.get("if-none-match", "").split(",")]:
            return Response(status_code=304, headers=headers)
        return JSONResponse(await run_in_threadpool(self._reading.document, page), headers=headers)

    async def _robot(self, request: Request) -> Response:
        found = await run_in_threadpool(self._reading.robot, _name(request))
        if found is None:
            raise HTTPException(404, "no such robot is known")
        return JSONResponse(found)

    async def _reports(self, request: Request) -> Response:
        limit = _number(request, "limit", 20)
        found = await run_in_threadpool(self._reading.history, _name(request), limit)
        if found is None:
            raise HTTPException(404, "no such robot is known")
        return JSONResponse(found)

    async def _waiting(self, _request: Request) -> Response:
        known = self.pins.now()
        document: dict[str, Any] = {"robots": await run_in_threadpool(self._reading.waiting)}
        document["pins"] = known.pins.generation if known else None
        return JSONResponse(document)

    async def _metrics_text(self, _request: Request) -> Response:
        return Response(self._metrics.text(), media_type="text/plain; version=0.0.4")

    async def _healthz(self, _request: Request) -> Response:
        return JSONResponse({"alive": True})

    async def _readyz(self, _request: Request) -> Response:
        await run_in_threadpool(self.store.ready)
        return JSONResponse({"ready": True, "pins_problem": self.pins.problem or None})

    async def _outside(self, request: Request, error: Exception) -> Response:
        """The database failed. The reason goes to the hub's log; who asked learns that it is not their fault."""
        assert isinstance(error, OutsideError)
        self.say(f"{request.method} {request.url.path}: {error.message} → {error.hint}")
        full = isinstance(error, DatabaseFull)
        status, headers = (507, {}) if full else (503, {"Retry-After": "10"})
        if request.url.path == REPORTS_PATH:
            self._metrics.reports.labels(str(status)).inc()
        return JSONResponse({"error": "the hub's database does not take or give reports now"}, status, headers)


async def _not_there(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


def _later(wait_s: int, why: str) -> Answer:
    return Answer(429, {"error": f"{why}: again in {wait_s} s"}, {"Retry-After": str(wait_s)})


def _number(request: Request, name: str, default: int) -> int:
    given = request.query_params.get(name)
    if given is None:
        return default
    if not (given.isascii() and given.isdigit() and len(given) <= _DIGITS and int(given) > 0):
        raise HTTPException(400, f"{name}: a number from 1 on")
    return int(given)


def _name(request: Request) -> str:
    name = str(request.path_params["name"])
    if not ROBOT_NAME.fullmatch(name):
        raise HTTPException(404, "no such robot is known")
    return name
