"""The hub over HTTP, for real: what robots and readers are answered, over both databases."""

from __future__ import annotations

import dataclasses
import json
import random
import socket
import time
from collections.abc import Iterator

import pytest
import requests
from sqlalchemy import text

from fleet.adapters.system_clock import SystemClock
from fleet.hub.limits import HubLimits
from fleet.hub.store import Keep
from runtime.contract.codec import canonical_json, to_dict
from runtime.contract.node.report import MAX_ENVELOPE, SignedReport, signed_bytes
from tests.contract.hub.served import Served, names, served
from tests.fakes.clock import FakeClock
from tests.fakes.pull_robots import PullRobot, SigningKey, pins_of

DEADLINE_S = 60.0


@pytest.fixture
def hub(database: str) -> Iterator[Served]:
    with served(database) as running:
        yield running


@pytest.fixture
def lite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Where the database makes no difference."""
    with served(str(tmp_path_factory.mktemp("hub") / "hub.sqlite")) as running:
        yield running


@pytest.fixture
def robot() -> PullRobot:
    return PullRobot("amr-001")


def shown(hub: Served, name: str = "amr-001") -> int | None:
    envelope = hub.get(f"/v1/robots/{name}").json()["envelope"]
    return envelope and envelope["sequence"]


def test_a_report_comes_out_as_it_went_in(hub: Served, robot: PullRobot) -> None:
    sent = robot.report()
    answer = hub.post(sent)
    assert (answer.status_code, answer.json()) == (202, {"sequence": 1})
    assert hub.get("/v1/robots/amr-001").json()["envelope"] == to_dict(sent)
    hub.post(robot.report())
    assert shown(hub) == 2
    kept = hub.get("/v1/robots/amr-001/reports?limit=5").json()["reports"]
    assert [each["envelope"]["sequence"] for each in kept] == [2, 1]


def test_a_replay_is_told_which_number_is_known(hub: Served, robot: PullRobot) -> None:
    first, second = robot.report(), robot.report()
    assert [hub.post(each).status_code for each in (first, second, first, second)] == [202, 202, 409, 409]
    assert hub.post(first).json() == {"sequence": 2, "error": "report 2 of amr-001 is known"}
    assert shown(hub) == 2


def _cut(sent: SignedReport) -> SignedReport:
    return dataclasses.replace(sent, body=sent.body[:-8])


FORGED = {
    "another body": (
        lambda sent: dataclasses.replace(sent, body=PullRobot("amr-001").report(5.0).body),
        "does not fit",
    ),
    "a higher number": (lambda sent: dataclasses.replace(sent, sequence=99), "does not fit"),
    "another robot": (lambda sent: dataclasses.replace(sent, robot="amr-002"), "does not fit"),
    "another key": (lambda sent: dataclasses.replace(sent, key=SigningKey("x").public), "another key made it"),
    "no key": (lambda sent: dataclasses.replace(sent, key="ssh-dss AAAA"), "no host key"),
    "no signature": (lambda sent: dataclasses.replace(sent, signature=""), "no armored SSH signature"),
    "a name with a slash": (lambda sent: dataclasses.replace(sent, robot="../x"), "no robot's name"),
    "a name of a megabyte": (lambda sent: dataclasses.replace(sent, robot="a" * 200000), "no robot's name"),
    "another fleet": (lambda sent: dataclasses.replace(sent, fleet="docks"), "of fleet warehouse, not of docks"),
    "number zero": (lambda sent: dataclasses.replace(sent, sequence=0), "not a sequence number"),
    "a number past every integer": (lambda sent: dataclasses.replace(sent, sequence=2**63), "not a sequence number"),
    "a body that is cut": (_cut, "does not fit"),
}


@pytest.mark.parametrize("how", FORGED)
def test_what_its_key_did_not_sign_is_refused_and_kept_nowhere(lite: Served, robot: PullRobot, how: str) -> None:
    change, said = FORGED[how]
    answer = lite.post(change(robot.report()))
    assert answer.status_code == 400
    assert said in answer.json()["error"]
    assert len(answer.content) < 1000
    assert lite.store.count() == (0, 0, 0)


def test_a_report_of_somebody_else_in_a_right_envelope_is_refused(lite: Served) -> None:
    """Signed by the key, and yet inside stands another robot than outside."""
    thief, words = PullRobot("amr-002"), PullRobot("amr-001").report()
    signature = thief.key.sign(signed_bytes("warehouse", "amr-002", 1, words.body))
    answer = lite.post(SignedReport("warehouse", "amr-002", 1, words.body, thief.key.public, signature))
    assert answer.status_code == 400
    assert "of another robot, fleet or number than its envelope" in answer.json()["error"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"{" * 5000,
        b'{"fleet":' + b'"a"' * 3,
        b'{"sequence":1e999}',
        b"x" * 9999,
    ],
)
def test_junk_is_refused_in_a_sentence(lite: Served, body: bytes) -> None:
    answer = lite.post(body)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("not taken: ")
    assert lite.store.count() == (0, 0, 0)


def test_a_body_that_is_too_large_is_not_read(lite: Served) -> None:
    assert lite.post(b"x" * (MAX_ENVELOPE + 1)).status_code == 413

    def endless() -> Iterator[bytes]:
        for _ in range(1000):
            yield b"x" * 65536

    try:  # without a length
        ended: object = requests.post(f"{lite.url}/v1/reports", data=endless(), timeout=DEADLINE_S).status_code
    except requests.RequestException:
        ended = "cut"
    assert ended in (413, "cut")
    assert lite.get("/healthz").status_code == 200


def test_the_largest_report_that_a_robot_packs_is_taken(lite: Served, robot: PullRobot) -> None:
    padding = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=220_000))
    assert lite.post(robot.report(padding=padding)).status_code == 202


# ── whose robots ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_robot_without_a_pin_waits_and_its_pin_ends_that(hub: Served, robot: PullRobot) -> None:
    hub.pin(pins_of(PullRobot("amr-002")))
    hub.post(robot.report())
    (waits,) = hub.get("/v1/waiting").json()["robots"]
    assert (waits["robot"], waits["fingerprint"], waits["pinned"]) == ("amr-001", robot.key.host_key.fingerprint, None)
    hub.pin(pins_of(robot, generation=2))
    assert hub.get("/v1/waiting").json() == {"robots": [], "pins": 2}


def test_somebody_who_poses_as_a_robot_is_seen_and_does_not_hide_it(hub: Served, robot: PullRobot) -> None:
    thief = PullRobot("amr-001", sequence=1000)
    thief.key = SigningKey("thief")
    hub.pin(pins_of(robot))
    assert hub.post(thief.report()).status_code == 202
    assert shown(hub) is None
    assert hub.post(robot.report()).status_code == 202
    assert shown(hub) == 1
    (waits,) = hub.get("/v1/waiting").json()["robots"]
    assert waits["fingerprint"] == thief.key.host_key.fingerprint
    assert waits["pinned"] == robot.key.host_key.fingerprint


def test_a_retired_robot_is_told_so(hub: Served, robot: PullRobot) -> None:
    hub.pin(pins_of(robot, retired=("amr-001",)))
    answer = hub.post(robot.report())
    assert answer.status_code == 403
    assert answer.json()["error"] == "amr-001 is retired: its reports count no more"


def test_pins_that_are_older_than_those_known_are_not_taken(lite: Served, robot: PullRobot) -> None:
    lite.pin(pins_of(robot, generation=5, retired=("amr-001",)))
    lite.pin(pins_of(robot, generation=4))
    assert lite.post(robot.report()).status_code == 403
    assert lite.log == ["pins could not be read, and those that are known stay: generation 4 is older than 5"]


def test_pages_hold_everybody_once_reported_or_not(hub: Served) -> None:
    robots = [PullRobot(f"amr-{number:03}") for number in range(7)]
    hub.pin(pins_of(*robots))
    for robot in robots[::2]:
        hub.post(robot.report())
    hub.post(PullRobot("zz-stranger").report())
    found, after, pages = [], "", 0
    while after is not None:
        page = hub.get(f"/v1/robots?after={after}&limit=3").json()
        found += [(each["robot"], each["envelope"] is not None) for each in page["robots"]]
        after, pages = page["next"], pages + 1
    assert found == [(robot.name, number % 2 == 0) for number, robot in enumerate(robots)] + [("zz-stranger", True)]
    assert pages == 3


def test_a_page_ends_where_it_grows_large(database: str) -> None:
    robots = [PullRobot(f"amr-{number:03}") for number in range(120)]
    with served(database, limits=HubLimits(page_bytes=1)) as hub:
        for robot in robots:
            hub.post(robot.report())
        page = hub.get("/v1/robots").json()
        assert names(page) == [robot.name for robot in robots[: len(page["robots"])]]
        assert 0 < len(page["robots"]) < len(robots)
        rest = hub.get(f"/v1/robots?after={page['next']}").json()
        assert names(rest)[0] == robots[len(page["robots"])].name


def test_what_did_not_change_is_not_sent_again(hub: Served, robot: PullRobot) -> None:
    hub.post(robot.report())
    first = hub.get("/v1/robots")
    again = hub.get("/v1/robots", If_None_Match=first.headers["ETag"])
    assert (again.status_code, again.content) == (304, b"")
    hub.post(robot.report())
    changed = hub.get("/v1/robots", If_None_Match=first.headers["ETag"])
    assert changed.status_code == 200
    assert changed.json()["robots"][0]["envelope"]["sequence"] == 2


@pytest.mark.parametrize(
    "path", ["/v1/robots?after=../x", "/v1/robots?limit=-1", "/v1/robots?limit=x", "/v1/robots?limit=0"]
)
def test_a_question_that_is_none_is_refused(lite: Served, path: str) -> None:
    assert lite.get(path).status_code == 400


@pytest.mark.parametrize("path", ["/v1/robots/nobody", "/v1/robots/nobody/reports", "/v1/robots/%2e%2e", "/nothing"])
def test_what_is_not_there_is_404_and_a_document(lite: Served, path: str) -> None:
    answer = lite.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"]


# ── who may ask, and how much ────────────────────────────────────────────────────────────────────────────────────


def test_reading_needs_the_token_where_there_is_one_and_reporting_does_not(database: str, robot: PullRobot) -> None:
    with served(database, token="between-us") as hub:
        assert hub.post(robot.report()).status_code == 202
        for path in ("/v1/robots", "/v1/robots/amr-001", "/v1/robots/amr-001/reports", "/v1/waiting", "/metrics"):
            assert hub.get(path).status_code == 401, path
            for wrong in ("Bearer other", "Basic between-us", "Bearer", "Bearer ü".encode().decode("latin-1")):
                assert hub.get(path, Authorization=wrong).status_code == 401, wrong
            assert hub.get(path, Authorization="Bearer between-us").status_code == 200, path
        assert hub.get("/healthz").status_code == hub.get("/readyz").status_code == 200


def test_a_robot_that_floods_is_told_to_wait(database: str, robot: PullRobot) -> None:
    clock = FakeClock()
    with served(database, limits=HubLimits(robot_rate=0.5, robot_burst=3), clock=clock) as hub:
        answers = [hub.post(robot.report()) for _ in range(5)]
        assert [each.status_code for each in answers] == [202, 202, 202, 429, 429]
        assert answers[-1].headers["Retry-After"] == "2"
        assert hub.post(PullRobot("amr-002").report()).status_code == 202, "others are not held up"
        clock.sleep(2.0)
        assert hub.post(robot.report()).status_code == 202


def test_an_address_that_floods_is_told_to_wait_before_anything_is_read(lite: Served, robot: PullRobot) -> None:
    with served(
        str(lite.store._engine.url), limits=HubLimits(address_rate=0.5, address_burst=2), clock=FakeClock()
    ) as hub:
        answers = [hub.post(b"junk").status_code for _ in range(3)]
        assert answers == [400, 400, 429]
        assert hub.get("/v1/robots").status_code == 429


def test_strangers_do_not_fill_the_database(database: str, robot: PullRobot) -> None:
    with served(database, keep=Keep(strangers=2)) as hub:
        hub.pin(pins_of(robot))
        strangers = [PullRobot(f"x-{number}") for number in range(4)]
        assert [hub.post(each.report()).status_code for each in strangers] == [202, 202, 202, 507]
        assert hub.post(robot.report()).status_code == 202


def test_a_head_that_does_not_come_ends_the_connection(database: str) -> None:
    with served(database, limits=HubLimits(header_s=0.3)) as hub:
        port = int(hub.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as slow:
            slow.sendall(b"POST /v1/reports HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            assert slow.recv(100) == b""
        assert hub.get("/healthz").status_code == 200


def test_a_body_that_does_not_come_is_answered(database: str) -> None:
    with served(database, limits=HubLimits(body_s=0.3)) as hub:
        port = int(hub.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as slow:
            slow.sendall(b"POST /v1/reports HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            assert slow.recv(100).startswith(b"HTTP/1.1 408 ")


def test_a_head_of_a_megabyte_is_refused(lite: Served) -> None:
    try:
        ended: object = lite.get("/healthz", X="x" * 1_000_000).status_code
    except requests.RequestException:
        ended = "cut"  # it closes while we still send
    assert ended in (400, "cut")
    assert lite.get("/healthz").status_code == 200


# ── itself ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_database_that_fails_is_503_to_the_robot_and_a_sentence_in_the_log(hub: Served, robot: PullRobot) -> None:
    with hub.store._engine.begin() as connection:
        connection.execute(text("ALTER TABLE report RENAME TO away"))
    answer = hub.post(robot.report())
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
    assert answer.json() == {"error": "the hub's database does not take or give reports now"}
    assert any("POST /v1/reports" in line and "does not answer well" in line for line in hub.log)
    with hub.store._engine.begin() as connection:
        connection.execute(text("ALTER TABLE away RENAME TO report"))
    assert hub.post(robot.report()).status_code == 202


def test_it_counts_what_it_did(hub: Served, robot: PullRobot) -> None:
    sent = robot.report()
    for each in (sent, sent):
        hub.post(each)
    hub.hub.maintain()
    said = hub.get("/metrics").text
    for line in (
        'jetfleet_hub_reports_total{status="202"} 1.0',
        'jetfleet_hub_reports_total{status="409"} 1.0',
        "jetfleet_hub_robots 1.0",
        "jetfleet_hub_kept_reports 1.0",
        "jetfleet_hub_waiting_robots 1.0",
        "jetfleet_hub_report_seconds_count 2.0",
    ):
        assert line in said.splitlines(), line


def test_reports_that_are_old_are_deleted_while_it_runs(database: str, robot: PullRobot) -> None:
    with served(database, keep=Keep(seconds=0.0)) as hub:
        hub.post(robot.report())
        hub.post(robot.report())
        until = SystemClock().monotonic() + DEADLINE_S
        while hub.store.count()[1] > 1:
            hub.hub.maintain()
            assert SystemClock().monotonic() < until
            time.sleep(0.02)
        assert shown(hub) == 2


def test_every_answer_is_json_that_says_why(lite: Served) -> None:
    for answer in (lite.get("/v1/reports"), requests.delete(lite.url + "/v1/robots", timeout=DEADLINE_S)):
        assert answer.status_code == 405
        assert answer.json()["error"]
    assert canonical_json(json.loads(lite.get("/healthz").content)) == b'{"alive":true}'
