"""What systemd is told, by a real datagram socket in systemd's place; and what an uninstallation removes."""

from __future__ import annotations

import argparse
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.contract.codec import to_dict
from runtime.contract.robot.update import UpdateState
from runtime.updater.cli import uninstall_command
from runtime.updater.cli.uninstall_command import uninstall
from runtime.updater.daemon.host_check import check_at_start
from runtime.updater.daemon.supervision import WATCHDOG_S, Supervision
from runtime.updater.robot.json_socket import Server
from runtime.updater.robot.process import Ran
from runtime.updater.state.world import WorldError
from runtime.updater.transaction.update_state import Rejected


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(30)
        yield listener


def supervision(tmp_path: Path, said: list[str], watchdog_s: str = "") -> Supervision:
    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "JETFLEET_WATCHDOG_S": watchdog_s}
    return Supervision(tmp_path / "updater.sock", said.append, environ)


def test_the_updater_asks_for_its_watchdog_itself(systemd: socket.socket, tmp_path: Path) -> None:
    one = supervision(tmp_path, [])
    one.start()
    assert systemd.recv(1000).decode().split("\n") == ["READY=1", f"WATCHDOG_USEC={WATCHDOG_S * 1e6:.0f}", "WATCHDOG=1"]
    one.stop()
    assert systemd.recv(1000) == b"STOPPING=1"


def test_only_an_updater_that_answers_feeds_it(systemd: socket.socket, tmp_path: Path) -> None:
    said: list[str] = []
    stuck, server = threading.Event(), None
    one = supervision(tmp_path, said, "0.4")

    def answer(_request: object, _peer: object) -> object:
        if stuck.is_set():
            stuck.wait()
            threading.Event().wait(20)
        return to_dict(UpdateState("amr-001", "idle", "1.0"))

    server = Server(tmp_path / "updater.sock", answer)
    threading.Thread(target=server.serve, daemon=True).start()
    one.start()
    systemd.recv(1000)
    assert [systemd.recv(1000) for _ in range(3)] == [b"WATCHDOG=1"] * 3
    stuck.set()
    while not said:
        systemd.settimeout(0.05)
        try:
            systemd.recv(1000)
        except TimeoutError:
            continue
    one.stop()
    assert "does not answer" in said[0]


def test_without_systemd_nobody_is_told(tmp_path: Path) -> None:
    said: list[str] = []
    one = Supervision(tmp_path / "updater.sock", said.append, {})
    one.start()
    one.stop()
    assert said == []


@pytest.mark.parametrize(("text", "seconds"), [("0", 0.0), ("nonsense", WATCHDOG_S), ("-1", 0.0), ("2.5", 2.5)])
def test_the_watchdog_s_time_is_a_setting(text: str, seconds: float, tmp_path: Path) -> None:
    assert supervision(tmp_path, [], text)._watchdog_s == seconds


def test_a_host_that_no_longer_fits_is_said_once_the_engine_answers(capsys: pytest.CaptureFixture[str]) -> None:
    answers: list[list[str] | WorldError] = [WorldError("the Engine does not answer", engine_down=True), ["no nvidia"]]

    def look() -> list[str]:
        answer = answers.pop(0)
        if isinstance(answer, WorldError):
            raise answer
        return answer

    check_at_start(look, threading.Event(), pause_s=0.0)
    assert "this host no longer fits its release: no nvidia -> undo the upgrade" in capsys.readouterr().err
    assert answers == []


def test_a_host_that_cannot_be_looked_at_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    def look() -> list[str]:
        raise WorldError("the Engine does not answer")

    check_at_start(look, threading.Event(), pause_s=0.0)
    assert "could not be looked at: the Engine does not answer" in capsys.readouterr().err


# ── uninstall ──


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("run/systemd/system/x", "etc/systemd/system/fleet-updater.service", "usr/local/bin/fleet-updater"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "var/lib/jetfleet/state").mkdir(parents=True)
    (tmp_path / "var/lib/jetfleet/current").symlink_to("releases/one")
    asked: list[list[str]] = []

    def systemctl(argv: list[str], _timeout_s: float) -> Ran:
        asked.append(argv[2:])
        return Ran(0, "", "")

    monkeypatch.setattr(uninstall_command.process, "run", systemctl)
    return tmp_path


def options(machine: Path, *, purge: bool = False) -> argparse.Namespace:
    root = machine / "var/lib/jetfleet"
    return argparse.Namespace(machine=machine, root=root, socket=machine / "none.sock", purge=purge, json=False)


def test_an_uninstallation_keeps_what_the_robot_knows(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert uninstall(options(machine)) == 0
    assert not (machine / "etc/systemd/system/fleet-updater.service").exists()
    assert not (machine / "usr/local/bin/fleet-updater").exists()
    assert (machine / "var/lib/jetfleet/state").is_dir()
    assert "stays: releases, journal, trust" in capsys.readouterr().out
    assert uninstall(options(machine, purge=True)) == 0
    assert not (machine / "var/lib/jetfleet").exists()


def test_a_robot_in_mid_update_is_not_uninstalled(machine: Path) -> None:
    asked = options(machine)
    asked.socket = machine / "u.sock"
    state = UpdateState("amr-001", "fetching", "1.0", order_id="order-7")
    threading.Thread(target=Server(asked.socket, lambda *_: to_dict(state)).serve, daemon=True).start()
    with pytest.raises(Rejected, match=r"in the middle of an update \(fetching\)") as caught:
        uninstall(asked)
    assert "abort order-7" in caught.value.hint
    assert (machine / "usr/local/bin/fleet-updater").exists()


def test_systemctl_s_refusal_is_the_reason(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uninstall_command.process, "run", lambda *_: Ran(1, "", "Access denied\n"))
    with pytest.raises(Rejected, match="systemctl disable: Access denied"):
        uninstall(options(machine))
    assert (machine / "etc/systemd/system/fleet-updater.service").exists()
