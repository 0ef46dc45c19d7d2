"""The client of a hub, and the fake that stands for it elsewhere, say the same of the same reports; and a hub lies."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fleet.adapters.http_hub import RequestsHub
from fleet.errors import HubError
from fleet.ports import HubClient
from runtime.contract.node.report import SignedReport
from runtime.contract.robot.desired import Pins
from tests.contract.hub.served import served
from tests.fakes.hub import FakeHub
from tests.fakes.pull_robots import PullRobot, SigningKey, pins_of


class Site:
    """A hub to be asked, and what robots and operators do to it."""

    def __init__(self, client: HubClient, post: Callable[[SignedReport], object], pin: Callable[[Pins], None]) -> None:
        self.client, self.post, self.pin = client, post, pin


@pytest.fixture(params=["fake", "real"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    if request.param == "fake":
        fake = FakeHub()
        yield Site(fake, fake.post, lambda pins: setattr(fake, "pins", pins))
        return
    with served(str(tmp_path / "hub.sqlite")) as hub:
        yield Site(RequestsHub(hub.url), hub.post, hub.pin)


ROBOTS = [PullRobot(f"amr-{number:03}") for number in range(5)]


def test_the_newest_report_of_each_robot_comes_page_by_page(site: Site) -> None:
    site.pin(pins_of(*ROBOTS))
    sent = {each.name: PullRobot(each.name).report() for each in ROBOTS[:3]}
    for each in sent.values():
        site.post(each)
    first = site.client.robots(limit=2)
    assert [(row.robot, row.envelope) for row in first.rows] == [(name, sent[name]) for name in ("amr-000", "amr-001")]
    assert first.next == "amr-001"
    rest = site.client.robots(first.next)
    assert [row.robot for row in rest.rows] == ["amr-002", "amr-003", "amr-004"]
    assert [row.envelope is None for row in rest.rows] == [False, True, True]
    assert rest.next is None


def test_one_robot_is_asked_for_by_name(site: Site) -> None:
    robot = PullRobot("amr-001")
    site.pin(pins_of(robot, PullRobot("amr-002")))
    site.post(robot.report())
    newest = robot.report()
    site.post(newest)
    row, silent = site.client.robot("amr-001"), site.client.robot("amr-002")
    assert row is not None
    assert row.envelope == newest
    assert silent is not None
    assert silent.envelope is None
    assert site.client.robot("nobody") is None


def test_who_waits_is_told_with_its_key(site: Site) -> None:
    robot, new, thief = PullRobot("amr-001"), PullRobot("amr-009"), PullRobot("amr-001")
    thief.key = SigningKey("thief")
    site.pin(pins_of(robot))
    for each in (robot, new, thief):
        site.post(each.report())
    waits = site.client.waiting()
    assert [(each.robot, each.fingerprint) for each in waits] == [
        ("amr-009", new.key.host_key.fingerprint),
        ("amr-001", thief.key.host_key.fingerprint),
    ] or {each.robot for each in waits} == {"amr-009", "amr-001"}
    pinned = {each.robot: each.pinned for each in waits}
    assert pinned == {"amr-009": None, "amr-001": robot.key.host_key.fingerprint}


# ── what a hub may answer ────────────────────────────────────────────────────────────────────────────────────────


class Answers:
    """An HTTP server that answers what it is told, in turn; the last answer again and again."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes, dict[str, str]]] = []
        self.seen: list[tuple[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.seen.append((self.path, self.headers.get("Authorization", "")))
                status, body, headers = outer.answers[0] if len(outer.answers) == 1 else outer.answers.pop(0)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def say(self, document: object, status: int = 200, **headers: str) -> None:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.answers.append((status, body, {name.replace("_", "-"): value for name, value in headers.items()}))


@pytest.fixture
def answers() -> Iterator[Answers]:
    made = Answers()
    yield made
    made.server.shutdown()
    made.server.server_close()
    made.thread.join()


def client(answers: Answers, **more: str) -> RequestsHub:
    waits: list[float] = []
    return RequestsHub(answers.url, pause=waits.append, **more)


LIES = {
    "no JSON": (b"<html>hello</html>", "gives an answer that is none"),
    "a list": ([], "expected an object"),
    "no robots": ({}, "it has no list of robots"),
    "a number as the next name": ({"robots": [], "next": 7}, "it has no list of robots"),
    "a robot without a name": ({"robots": [{"x": 1}], "next": None}, "one of its robots has no name"),
    "a name of a kilobyte": ({"robots": [{"robot": "a" * 1000}], "next": None}, "one of its robots has no name"),
    "17 MB": (b" " * (17 << 20), "larger than 16 MiB"),
    "deep": (b'{"robots":' + b"[" * 1000, "gives an answer that is none"),
}


@pytest.mark.parametrize("lie", LIES)
def test_what_is_no_answer_is_refused_in_a_sentence(answers: Answers, lie: str) -> None:
    document, said = LIES[lie]
    answers.say(document)
    with pytest.raises(HubError, match=said) as refused:
        client(answers).robots()
    assert len(refused.value.message) < 500


def test_one_robot_with_junk_does_not_hide_the_others(answers: Answers) -> None:
    good = {"robot": "a", "received_at": None, "envelope": None}
    junk = [{"robot": "b", "envelope": {"body": 1}}, {"robot": "c", "received_at": "now", "envelope": None}]
    answers.say({"robots": [good, *junk], "next": None})
    page = client(answers).robots()
    assert [row.robot for row in page.rows] == ["a"]
    assert set(page.unreadable) == {"b", "c"}
    assert "envelope" in page.unreadable["b"]


def test_a_hub_that_is_busy_is_asked_again(answers: Answers) -> None:
    answers.say({"error": "later"}, 429, Retry_After="1")
    answers.say({"error": "later"}, 503)
    answers.say({"robots": [], "next": None})
    assert client(answers).robots().rows == ()
    assert len(answers.seen) == 3


def test_a_hub_that_stays_busy_is_said(answers: Answers) -> None:
    answers.say({"error": "the database is away\x1b[2J"}, 503)
    with pytest.raises(HubError, match="answers HTTP 503: the database is away") as refused:
        client(answers).robots()
    assert "\x1b" not in refused.value.message


def test_the_token_is_shown_and_never_said(answers: Answers) -> None:
    answers.say({"error": "reading needs the hub's token"}, 401)
    with pytest.raises(HubError) as refused:
        client(answers, token="between-us").robots()
    assert answers.seen == [("/v1/robots?after=&limit=500", "Bearer between-us")]
    assert "between-us" not in refused.value.message + refused.value.hint
    assert refused.value.hint == "name the hub's token in hub/token of fleet.yaml"


def test_redirects_are_not_followed(answers: Answers) -> None:
    answers.say(b"", 302, Location=f"{answers.url}/elsewhere")
    with pytest.raises(HubError, match="answers HTTP 302"):
        client(answers, token="between-us").robots()
    assert len(answers.seen) == 1


def test_a_hub_that_is_not_there_is_named() -> None:
    with pytest.raises(HubError, match=r"the hub http://127\.0\.0\.1:1 cannot be asked: it cannot be reached"):
        RequestsHub("http://127.0.0.1:1", pause=lambda _: None).robots()


def test_its_certificate_is_held_against_the_authority_that_the_manifest_names(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    words += ["-keyout", str(key), "-out", str(cert), "-days", "2", "-subj", "/CN=hub", "-addext"]
    subprocess.run([*words, "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    with served(str(tmp_path / "hub.sqlite"), tls=(cert, key)) as hub:
        assert hub.url.startswith("https://")
        assert RequestsHub(hub.url, ca_file=cert).robots().rows == ()
        with pytest.raises(HubError, match="its certificate is not trusted"):
            RequestsHub(hub.url, pause=lambda _: None).robots()


def test_an_authority_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(HubError, match=r"no-such\.pem: no such file"):
        RequestsHub("https://127.0.0.1:1", ca_file=tmp_path / "no-such.pem").robots()
