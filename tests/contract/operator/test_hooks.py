"""Hooks received by a real HTTP server: signed, retried, bounded; and by a program on this machine."""

from __future__ import annotations

import hashlib
import hmac
import json
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fleet.adapters.http_post import RequestsPoster
from fleet.adapters.system_clock import SystemClock
from fleet.errors import OutsideError, UsageError
from fleet.manifest.schema.hook_schema import Hook
from fleet.rollout.hooks import Hooks, make_hooks

SECRET = "between-us"
ALL = ("before-rollout", "before-wave", "after-wave", "on-pause", "on-failure", "after-rollout")


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.got: list[Received] = []
        self.answers: list[int] = []
        self.headers: dict[str, str] = {}
        self.hangs = threading.Event()
        self.hangs.set()

    def url(self, path: str = "/T0KEN") -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append(Received(self.path, dict(self.headers), body))
        self.server.hangs.wait(30)
        answer = self.server.answers.pop(0) if self.server.answers else 200
        self.send_response(answer)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"no")

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.hangs.set()
        server.shutdown()
        thread.join()


@dataclass
class Waits:
    """Pauses that take no time, noted."""

    seconds: list[float] = field(default_factory=list)
    now: float = 0.0

    def pause(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self.now += seconds

    def monotonic(self) -> float:
        return self.now


def hooks(tmp_path: Path, *declared: dict[str, Any], waits: Waits | None = None) -> Hooks:
    poster = RequestsPoster(pause=waits.pause, monotonic=waits.monotonic) if waits else RequestsPoster()
    return make_hooks(
        [Hook.model_validate({"events": ALL, **each}) for each in declared],
        fleet="warehouse",
        version="1.1.0",
        release="sha256:" + "1" * 64,
        kind="rollout",
        root=tmp_path,
        poster=poster,
        clock=SystemClock(),
    )


def test_what_is_posted_is_documented_and_signed(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    told = hooks(tmp_path, {"url": server.url(), "secret": {"env": "HOOK_SECRET"}})
    assert told.wave("before-wave", 2, 3, ["amr-1", "amr-2"], {}) == ""
    (got,) = server.got
    document = got.json
    assert {*document} == {
        "schema", "id", "event", "at", "fleet", "kind", "version", "release", "by", "wave", "waves", "outcome",
        "reason", "counts", "robots", "robot_count", "text",
    }  # fmt: skip
    assert (document["event"], document["wave"], document["waves"]) == ("before-wave", 2, 3)
    assert document["robots"] == ["amr-1", "amr-2"]
    assert document["text"] == "warehouse: rollout of 1.1.0 begins wave 2 of 3, 2 robots"
    at, _, mac = got.headers["X-Jetfleet-Signature"].partition(",v1=")
    signed = at.removeprefix("t=").encode() + b"." + got.body
    assert hmac.compare_digest(mac, hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest())
    assert abs(int(at.removeprefix("t=")) - time.time()) < 300
    assert SECRET.encode() not in got.body
    assert got.headers["X-Jetfleet-Event"] == "before-wave"
    assert got.headers["X-Jetfleet-Id"] == document["id"]


def test_a_receiver_that_recovers_is_asked_again_with_backoff(server: Server, tmp_path: Path) -> None:
    server.answers, waits = [503, 429, 500], Waits()
    told = hooks(tmp_path, {"url": server.url()}, waits=waits)
    assert told.tell("after-rollout", outcome="succeeded") == ""
    assert told.failures == []
    assert waits.seconds == [1.0, 2.0, 4.0]
    assert len({each.headers["X-Jetfleet-Id"] for each in server.got}) == 1  # so that it can be counted once


def test_retry_after_is_kept_to(server: Server, tmp_path: Path) -> None:
    server.answers, server.headers, waits = [429], {"Retry-After": "9"}, Waits()
    assert hooks(tmp_path, {"url": server.url()}, waits=waits).tell("after-rollout", outcome="succeeded") == ""
    assert waits.seconds == [9.0]


@pytest.mark.parametrize(
    ("answers", "says", "tries"),
    [([404], "HTTP 404 no (1 try", 1), ([302], "HTTP 302", 1), ([503] * 9, "HTTP 503 no (5 tries, 30 s at most)", 5)],
)
def test_a_receiver_that_refuses_is_told_of_without_its_address(
    server: Server, tmp_path: Path, answers: list[int], says: str, tries: int
) -> None:
    """A redirect is not followed: what is posted is for one receiver."""
    server.answers, server.headers = answers, {"Location": "http://127.0.0.1:1/other"}
    told = hooks(tmp_path, {"url": server.url()}, waits=Waits())
    assert told.tell("after-rollout", outcome="failed") == ""
    (failure,) = told.failures
    assert says in failure.why
    assert "T0KEN" not in f"{failure}"
    assert len(server.got) == tries


def test_a_receiver_that_hangs_meets_the_deadline_and_stops_the_rollout_where_declared(
    server: Server, tmp_path: Path
) -> None:
    server.hangs.clear()
    early = ["before-wave"]
    told = hooks(
        tmp_path,
        {"url": server.url(), "timeout": "300ms", "events": early},
        {"url": server.url(), "timeout": "300ms", "events": early, "on_error": "stop"},
    )
    why = told.wave("before-wave", 1, 2, ["amr-1"], {})
    assert why.startswith("hooks/1 (127.0.0.1) failed before-wave: 127.0.0.1 did not take it: it did not answer")
    assert [each.stops for each in told.failures] == [False, True]


def test_nobody_there_is_said(tmp_path: Path) -> None:
    told = hooks(tmp_path, {"url": "http://127.0.0.1:1/T0KEN"}, waits=Waits())
    told.tell("after-rollout", outcome="failed")
    assert "it cannot be reached" in told.failures[0].why


def test_a_certificate_of_nobody_is_refused(server: Server, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
         "-subj", "/CN=127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    told = hooks(tmp_path, {"url": server.url().replace("http:", "https:")}, waits=Waits())
    told.tell("after-rollout", outcome="failed")
    assert "its certificate is not trusted" in told.failures[0].why
    assert server.got == []


def test_slack_and_pagerduty_get_what_they_take(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLACK_URL", server.url("/slack"))
    monkeypatch.setenv("PAGERDUTY_KEY", "r0uting")
    told = hooks(
        tmp_path,
        {"url": {"env": "SLACK_URL"}, "format": "slack"},
        {"url": server.url("/v2/enqueue"), "format": "pagerduty", "key": {"env": "PAGERDUTY_KEY"}},
    )
    told.tell("on-failure", outcome="failed", reason="wave 1 of 2: 0 of 1 robots committed")
    told.tell("after-rollout", outcome="succeeded")
    slack, page, _, resolved = (each.json for each in server.got)
    assert slack == {"text": "warehouse: rollout of 1.1.0 failed: wave 1 of 2: 0 of 1 robots committed"}
    assert (page["routing_key"], page["event_action"], page["payload"]["severity"]) == ("r0uting", "trigger", "error")
    assert {*page["payload"]} == {"summary", "source", "severity", "custom_details"}
    assert (resolved["event_action"], resolved["dedup_key"]) == ("resolve", page["dedup_key"])
    assert "r0uting" not in json.dumps(page["payload"])


def test_a_program_gets_the_payload_and_its_failure_is_told(tmp_path: Path) -> None:
    (tmp_path / "tell.py").write_text(
        "import json, os, sys\n"
        "document = json.load(sys.stdin)\n"
        "open('told', 'a').write(os.environ['JETFLEET_EVENT'] + ' ' + document['version'] + chr(10))\n"
        "sys.exit('the board is full' if document['wave'] == 2 else 0)\n"
    )
    told = hooks(tmp_path, {"command": f"{sys.executable} tell.py", "events": ["after-wave"], "on_error": "stop"})
    assert told.tell("before-wave", wave=1, waves=2) == ""
    assert told.wave("after-wave", 1, 2, ["amr-1"], {"committed": 1}) == ""
    assert "ended with exit code 1: the board is full" in told.wave("after-wave", 2, 2, ["amr-2"], {})
    assert (tmp_path / "told").read_text() == "after-wave 1.1.0\nafter-wave 1.1.0\n"


def test_a_program_that_hangs_is_ended_with_what_it_started(tmp_path: Path) -> None:
    told = hooks(tmp_path, {"command": "sh -c 'sleep 60 & sleep 60'", "timeout": "200ms"})
    began = time.monotonic()
    told.tell("after-rollout", outcome="failed")
    assert "gave no answer within 0.2 s" in told.failures[0].why
    assert time.monotonic() - began < 30


def test_a_secret_that_is_missing_is_refused_before_anything_happens(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"hooks/0/secret: the variable NOT_SET_HERE is empty"):
        hooks(tmp_path, {"url": "https://hooks.example/x", "secret": {"env": "NOT_SET_HERE"}})


def test_an_address_that_is_found_is_judged_as_a_written_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_URL", "http://hooks.example/T0KEN")
    with pytest.raises(UsageError, match="can be read on the way") as caught:
        hooks(tmp_path, {"url": {"env": "SLACK_URL"}})
    assert "T0KEN" not in caught.value.message


def test_the_adapter_says_what_it_could_not_do() -> None:
    with pytest.raises(OutsideError, match=r"127\.0\.0\.1 did not take it"):
        RequestsPoster().post("http://127.0.0.1:1/x", b"{}", {}, deadline_s=0.2)
