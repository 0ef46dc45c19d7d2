"""Two agents of one robot: each has a socket of its own, and the port changes hands with the token."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path

import pytest

from runtime.contract.node.serving import health_socket
from runtime.health.http.listeners import Listeners
from runtime.health.http.server import Render, json_page
from runtime.health.process.serving_token import Token, resident_bytes
from runtime.health.settings import AgentSettings

CHECK = Path(__file__).parents[3] / "images/runtime/healthcheck.py"


@pytest.fixture(autouse=True)
def _no_sockets() -> None:
    """Instead of the tier's fixture: these tests talk to 127.0.0.1."""


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Two:
    """Both slots' agents, as far as HTTP goes."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.token = folder / "active"
        self.said: list[str] = []
        self.open: list[Listeners] = []

    def agent(self, slot: str) -> Listeners:
        own = self.folder / health_socket(slot)
        base = AgentSettings(Path("x"), "amr-001", "", "", self.port, 1.0)
        settings = replace(base, slot=slot, token=self.token, own_socket=own)
        pages: dict[str, Render] = {"/healthz": lambda _: json_page(HTTPStatus.OK, slot or "a")}
        doors = Listeners(settings, Token(self.token, slot), pages, self.said.append)
        doors.start()
        self.open.append(doors)
        return doors

    def on_port(self) -> str:
        return ask(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10))

    def on_socket(self, slot: str) -> str:
        connection = http.client.HTTPConnection("localhost", timeout=10)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self.folder / health_socket(slot)))
        return ask(connection)


def ask(connection: http.client.HTTPConnection) -> str:
    connection.request("GET", "/healthz")
    said = connection.getresponse().read().decode().strip().strip('"')
    connection.close()
    return said


@pytest.fixture
def two(short_folder: Path, port: int) -> Iterator[Two]:
    found = Two(short_folder, port)
    yield found
    for doors in found.open:
        doors.close()


@pytest.fixture
def short_folder(tmp_path: Path) -> Iterator[Path]:
    """A socket's path has room for 107 bytes, which pytest's folders may not leave."""
    link = Path(f"/tmp/jf-{os.getpid()}-{time.monotonic_ns() % 10**9}")
    link.symlink_to(tmp_path)
    yield link
    link.unlink()


def test_the_port_changes_hands_with_the_token_and_each_answers_on_its_own_socket(two: Two) -> None:
    two.token.write_text("a\n")
    first, second = two.agent(""), two.agent("b")
    assert (two.on_port(), two.on_socket(""), two.on_socket("b")) == ("a", "a", "b")
    two.token.write_text("b\n")
    second.step()
    assert two.said[-1] == f"port {two.port} is not free yet: Address already in use"
    first.step()
    second.step()
    assert (two.on_port(), two.on_socket(""), two.on_socket("b")) == ("b", "a", "b")


def test_who_comes_back_in_the_middle_leaves_the_port_to_the_one_that_is_named(two: Two) -> None:
    two.token.write_text("b\n")
    two.agent("").step()
    two.agent("b")
    assert two.on_port() == "b"


def test_by_hand_a_port_that_is_taken_ends_the_agent(two: Two) -> None:
    two.agent("")
    with pytest.raises(OSError, match="in use"):
        two.agent("b")


def test_a_folder_that_is_not_there_costs_the_socket_alone(two: Two) -> None:
    two.folder = two.folder / "none"
    two.agent("")
    assert two.on_port() == "a"


def test_a_folder_that_comes_later_is_used_then(two: Two) -> None:
    folder, two.folder = two.folder, two.folder / "later"
    doors = two.agent("")
    two.folder.mkdir()
    doors.step()
    assert two.on_socket("") == "a"
    assert folder != two.folder


def test_docker_s_check_asks_the_container_s_own_agent(two: Two) -> None:
    two.token.write_text("b\n")
    two.agent("b")
    environment = {**os.environ, "JETFLEET_HEALTH_PORT": str(two.port), "JETFLEET_NODE_DIR": str(two.folder)}

    def check(slot: str) -> tuple[int, str]:
        command = [sys.executable, "-I", "-S", str(CHECK)]
        done = subprocess.run(
            command, env={**environment, "JETFLEET_SLOT": slot}, capture_output=True, text=True, check=False, timeout=60
        )
        return done.returncode, done.stdout

    assert check("b") == (0, '"b"\n\n')
    assert check("") == (0, '"b"\n\n'), "without a socket of its own: the port, as by hand"
    lost = two.folder / health_socket("")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(lost))
    code, said = check("")
    assert code == 1
    assert str(lost) in said


def test_memory_of_processes_together() -> None:
    mine = resident_bytes([os.getpid()])
    assert mine is not None
    assert mine > 1_000_000
    both = resident_bytes([os.getpid(), os.getpid()])
    assert both is not None
    assert both > mine
    assert resident_bytes([os.getpid(), 2**22 + 1]) is None
