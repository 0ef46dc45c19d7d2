"""Asking the host: a real socket and a real thread, with a host that behaves, refuses, babbles, or is not there."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtime.contract.robot.power import PowerAnswer
from runtime.power.host_link import HostError, HostLink, ask_host

WAIT_S = 60.0


class Host:
    """Answers each request with the next of ``replies`` (the last one for ever)."""

    def __init__(self, path: Path, *replies: bytes) -> None:
        self.requests: list[dict[str, str]] = []
        self._replies, self.heard = list(replies), threading.Semaphore(0)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                self.requests.append(json.loads(connection.makefile().readline()))
                connection.sendall(self._replies.pop(0) if len(self._replies) > 1 else self._replies[0])
            self.heard.release()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def yes(mode: str) -> bytes:
    return json.dumps({"ok": True, "value": {"mode": mode, "asked": mode, "verified": True}}).encode() + b"\n"


NO = b'{"ok": false, "error": {"kind": "refused", "message": "not allowed", "hint": "allowed are 25W"}}\n'


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    hosts: list[Host] = []

    def make(*replies: bytes) -> Host:
        hosts.append(Host(tmp_path / "power.sock", *replies))
        return hosts[-1]

    yield make
    for each in hosts:
        each.close()


def test_the_answer(host: Callable[..., Host], tmp_path: Path) -> None:
    served = host(yes("25W"))
    assert ask_host(tmp_path / "power.sock", "25W", "hot") == PowerAnswer("25W", "25W", True)
    assert served.requests == [{"verb": "power", "want": "25W", "why": "hot"}]


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (NO, "the host refuses power mode 25W: not allowed -> allowed are 25W"),
        (b"", "an invalid answer"),
        (b"[]\n", "an invalid answer"),
        (b"hello\n", "an invalid answer"),
        (b'{"ok": true, "value": {"mode": 5}}\n', "PowerAnswer.mode: expected str"),
    ],
)
def test_what_is_no_yes(host: Callable[..., Host], tmp_path: Path, reply: bytes, says: str) -> None:
    host(reply)
    with pytest.raises(HostError) as caught:
        ask_host(tmp_path / "power.sock", "25W", "")
    assert says in str(caught.value)


def test_a_refusal_that_comes_before_the_question_was_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "power.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def refuse() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.sendall(NO)

        thread = threading.Thread(target=refuse)
        thread.start()
        with pytest.raises(HostError, match="the host refuses power mode 25W: not allowed"):
            ask_host(path, "25W", "x" * (4 << 20))  # more than the socket takes while nobody reads
        thread.join(WAIT_S)


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"does not answer on .*No such file.*fleet bootstrap"):
        ask_host(tmp_path / "power.sock", "25W", "")


def test_a_new_wish_is_asked_at_once_and_repeated(host: Callable[..., Host], tmp_path: Path) -> None:
    served = host(yes("25W"), yes("40W"))
    link = HostLink(tmp_path / "power.sock", period_s=0.2, log=lambda line: None)
    link.start()
    try:
        link.want("25W", "")
        assert served.heard.acquire(timeout=WAIT_S)
        link.want("40W", "busy")
        for _ in range(3):  # the first, and two of its repetitions
            assert served.heard.acquire(timeout=WAIT_S)
    finally:
        link.stop()
    assert [request["want"] for request in served.requests[-2:]] == ["40W", "40W"]


def test_trouble_is_said_once_and_the_last_answer_stays(host: Callable[..., Host], tmp_path: Path) -> None:
    said: list[str] = []
    served = host(yes("25W"), NO)
    link = HostLink(tmp_path / "power.sock", period_s=0.05, log=said.append)
    link.start()
    try:
        link.want("25W", "")
        for _ in range(6):
            assert served.heard.acquire(timeout=WAIT_S)
    finally:
        link.stop()
    link._thread.join(WAIT_S)
    assert link.says.answer == PowerAnswer("25W", "25W", True)
    assert link.says.problem.startswith("the host refuses power mode 25W")
    assert said == ["power: " + link.says.problem]
