"""`fleet hub` as a process: killed while robots report, two over one database, moved elsewhere, refused words."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from fleet.adapters.http_hub import RequestsHub
from fleet.cli import main
from runtime.contract.codec import canonical_json, to_dict
from tests.contract.hub.databases import PostgresServer
from tests.fakes.pull_robots import FLEET, PullRobot, SigningKey, pins_of

DEADLINE_S = 120.0


class HubProcess:
    """A hub of this checkout, at a port that it chose."""

    def __init__(self, *words: str) -> None:
        command = [sys.executable, "-m", "fleet.cli.main", "hub", "--json", "--listen", "127.0.0.1:0", *words]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout
        text = ""
        for line in self.process.stdout:
            text += line
            if line == "}\n":
                break
        assert text, self.end()
        self.said = json.loads(text)
        self.url: str = self.said["listening"]

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=DEADLINE_S)

    def end(self) -> str:
        """Ask it to end; return what it said on stderr."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.communicate(timeout=DEADLINE_S)[1]


@pytest.fixture
def start() -> Iterator[Callable[..., HubProcess]]:
    made: list[HubProcess] = []

    def start(*words: str) -> HubProcess:
        made.append(HubProcess(*words))
        return made[-1]

    yield start
    for each in made:
        if each.process.poll() is None:
            each.kill()


def post(url: str, robot: PullRobot) -> int:
    return requests.post(f"{url}/v1/reports", json=to_dict(robot.report()), timeout=DEADLINE_S).status_code


def test_what_was_acknowledged_survives_kill_9_in_the_middle_of_reports(
    database: str, start: Callable[..., HubProcess]
) -> None:
    hub = start("--database", database, "--fleet", FLEET)
    robots = [PullRobot(f"amr-{number}") for number in range(4)]
    acknowledged: dict[str, int] = {}
    enough = threading.Event()

    def report(robot: PullRobot) -> None:
        try:
            while post(hub.url, robot) == 202:
                acknowledged[robot.name] = robot.sequence
                if len(acknowledged) == len(robots) and min(acknowledged.values()) >= 5:
                    enough.set()
        except requests.RequestException:
            return  # it was killed

    threads = [threading.Thread(target=report, args=(robot,)) for robot in robots]
    for thread in threads:
        thread.start()
    assert enough.wait(DEADLINE_S)
    hub.kill()
    for thread in threads:
        thread.join(DEADLINE_S)
    again = start("--database", database, "--fleet", FLEET)
    for robot in robots:
        row = RequestsHub(again.url).robot(robot.name)
        assert row is not None
        assert row.envelope is not None
        assert row.envelope.sequence in (acknowledged[robot.name], acknowledged[robot.name] + 1)
        robot.sequence = row.envelope.sequence
        assert post(again.url, robot) == 202
    assert "Traceback" not in again.end()


def test_two_hubs_over_one_postgresql_take_a_robots_reports_in_turn(
    postgres: PostgresServer, start: Callable[..., HubProcess]
) -> None:
    database = postgres.database()
    first, second = (start("--database", database, "--fleet", FLEET) for _ in range(2))
    robot = PullRobot("amr-001")
    assert [post(hub.url, robot) for hub in (first, second, first)] == [202, 202, 202]
    old = PullRobot("amr-001", sequence=1)
    assert post(second.url, old) == 409, "one hub knows what the other one took"
    shown = [RequestsHub(hub.url).robot("amr-001") for hub in (first, second)]
    assert shown[0] == shown[1]
    assert shown[0] is not None
    assert shown[0].envelope is not None
    assert shown[0].envelope.sequence == 3
    first.kill()
    assert post(second.url, robot) == 202, "and goes on without it"


def test_a_backup_that_was_made_while_it_ran_is_a_hub_elsewhere(
    tmp_path: Path, start: Callable[..., HubProcess]
) -> None:
    """As docs/hub.md says: SQLite's own backup, then a hub over the copy."""
    here, copy, robot = tmp_path / "hub.sqlite", tmp_path / "copy.sqlite", PullRobot("amr-001")
    hub = start("--database", str(here), "--fleet", FLEET)
    assert post(hub.url, robot) == 202
    source, target = sqlite3.connect(here), sqlite3.connect(copy)
    with source, target:
        source.backup(target)
    source.close()
    target.close()
    assert post(hub.url, robot) == 202
    hub.kill()
    moved = start("--database", str(copy), "--fleet", FLEET)
    row = RequestsHub(moved.url).robot("amr-001")
    assert row is not None
    assert row.envelope is not None
    assert row.envelope.sequence == 1
    assert post(moved.url, robot) == 202, "robots go on with their own number"


def test_a_dump_of_postgresql_is_a_hub_elsewhere(postgres: PostgresServer, start: Callable[..., HubProcess]) -> None:
    database, robot = postgres.database(), PullRobot("amr-001")
    hub = start("--database", database, "--fleet", FLEET)
    assert post(hub.url, robot) == 202
    name = database.split("/")[3].partition("?")[0]
    dump = postgres.folder / "data" / "hub.dump"
    postgres.run("pg_dump", "--format=custom", f"--file={dump}", name)
    other = postgres.database()
    postgres.run("pg_restore", f"--dbname={other.split('/')[3].partition('?')[0]}", "--exit-on-error", str(dump))
    hub.kill()
    moved = start("--database", other, "--fleet", FLEET)
    assert post(moved.url, PullRobot("amr-001")) == 409
    assert post(moved.url, robot) == 202


def test_pins_of_a_file_are_read_again(tmp_path: Path, start: Callable[..., HubProcess]) -> None:
    robot, path = PullRobot("amr-001"), tmp_path / "pins.json"
    path.write_bytes(canonical_json(pins_of(robot)))
    hub = start("--database", str(tmp_path / "hub.sqlite"), "--pins", str(path))
    assert (hub.said["fleet"], hub.said["pins"], hub.said["token"]) == (FLEET, True, False)
    assert post(hub.url, robot) == 202
    thief = PullRobot("amr-001")
    thief.key = SigningKey("thief")
    assert post(hub.url, thief) == 202
    (waits,) = RequestsHub(hub.url).waiting()
    assert waits.fingerprint == thief.key.host_key.fingerprint


def test_a_lab_has_a_hub_with_one_command_and_is_told_what_to_do_next(start: Callable[..., HubProcess]) -> None:
    hub = start("--dev", "--fleet", FLEET)
    assert hub.said["listening"].startswith("http://127.0.0.1:")
    assert post(hub.url, PullRobot("amr-001")) == 202
    said = hub.end()
    assert hub.process.returncode == 0, said
    assert f"put hub: {{url: {hub.url}}} into fleet.yaml, then fleet status --hub" in said


# ── words that do not fit ────────────────────────────────────────────────────────────────────────────────────────


def refused(capsys: pytest.CaptureFixture[str], *words: str, code: int = 2) -> str:
    capsys.readouterr()
    assert main.run(["hub", *words]) == code
    return capsys.readouterr().err


@pytest.mark.parametrize("address", ["8443", "0.0.0.0", "host:99999", ":8443", "host:-1"])
def test_an_address_that_is_none(capsys: pytest.CaptureFixture[str], address: str) -> None:
    assert f"{address} is no address to listen at" in refused(capsys, "--fleet", "f", "--listen", address)


def test_a_token_file_that_is_empty(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "token").write_text("\nsecond line")
    said = refused(capsys, "--fleet", "f", "--token-file", str(tmp_path / "token"))
    assert "its first line is no token" in said


def test_a_certificate_without_its_key(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "TLS needs a certificate and its key" in refused(capsys, "--fleet", "f", "--tls-cert", "x.pem")
    both = ("--tls-cert", str(tmp_path / "x"), "--tls-key", str(tmp_path / "y"))
    assert "are no certificate with its key" in refused(capsys, "--fleet", "f", *both)


def test_a_lab_hub_serves_this_machine_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--dev serves this machine alone" in refused(capsys, "--fleet", "f", "--dev", "--listen", "0.0.0.0:8443")


@pytest.mark.parametrize(
    "content", ["", "[]", '{"fleet":"f"}', '{"fleet":"f","generation":1,"robots":{},"kind":"plan"}']
)
def test_a_file_that_holds_no_pins(capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str) -> None:
    (tmp_path / "pins.json").write_text(content)
    assert "holds no pins" in refused(capsys, "--pins", str(tmp_path / "pins.json"))


def test_pins_of_another_fleet(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "pins.json").write_bytes(canonical_json(pins_of(fleet="docks")))
    said = refused(capsys, "--pins", str(tmp_path / "pins.json"), "--fleet", "warehouse")
    assert "pins robots of fleet docks, not of warehouse" in said


def test_an_address_that_is_taken_is_exit_3(tmp_path: Path, start: Callable[..., HubProcess]) -> None:
    hub = start("--dev", "--fleet", FLEET)
    address = hub.url.rpartition("//")[2]
    command = [sys.executable, "-m", "fleet.cli.main", "hub", "--dev", "--fleet", FLEET, "--listen", address]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert ended.returncode == 3, ended.stderr
    assert f"the hub cannot listen at {address}" in ended.stderr
