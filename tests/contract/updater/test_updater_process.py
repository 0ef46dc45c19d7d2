"""The updater as robots run it: one zipapp, a daemon and its commands, under the oldest Python that robots have."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleet.bootstrap.updater_package import updater_version, updater_zipapp
from runtime.contract.codec import canonical_json, from_dict, from_json
from runtime.contract.robot.update import UpdateState
from runtime.updater.robot.json_socket import ask
from runtime.updater.state.transitions import accept, enter
from runtime.updater.storage.journal import JournalStore
from runtime.updater.transaction.update_state import Rejected
from tests.fakes.robots.robot_world import FakeWorld, order

SOURCES = Path(__file__).parents[3] / "runtime"


def _pythons() -> list[str]:
    """This Python, and a 3.8 where there is one."""
    homes = Path.home() / ".pyenv" / "versions"
    old = [str(path) for path in sorted(homes.glob("3.8.*/bin/python"))] if homes.is_dir() else []
    return [sys.executable, *(old or filter(None, [shutil.which("python3.8")]))]


class Daemon:
    """A robot's folder, and the updater that works in it. Docker is not there unless a test says where it is."""

    def __init__(self, root: Path, python: str) -> None:
        self.root, self.python = root, python
        self.archive = root / "fleet-updater.pyz"
        self.archive.write_bytes(updater_zipapp())
        (root / "state").mkdir()
        (root / "state" / "robot.json").write_text('{"robot": "amr-001", "fleet": "warehouse"}')
        (root / "trust").mkdir()
        (root / "trust" / "trust.json").write_text('{"fleet": "warehouse", "unsigned": true}')
        self.environment = {"PATH": os.environ["PATH"], "DOCKER_HOST": f"unix://{root}/no-engine.sock"}
        self.options: tuple[str, ...] = ()
        self.process: subprocess.Popen[bytes] | None = None

    def command(self, *words: str) -> list[str]:
        place = ["--root", str(self.root), "--socket", str(self.root / "updater.sock")]
        return [self.python, "-S", "-I", str(self.archive), *place, *self.options, *words]

    def start(self) -> None:
        log = (self.root / "log").open("ab")
        self.process = subprocess.Popen(
            self.command("serve"), env=self.environment, stdout=log, stderr=log, start_new_session=True
        )
        log.close()
        self.wait(self._answers, "the daemon")

    def ask(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words),
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def state(self) -> UpdateState:
        """Ask as the command does, without the cost of starting it."""
        return from_dict(UpdateState, ask(self.root / "updater.sock", {"verb": "status"}))

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, "the daemon ended\n" + (self.root / "log").read_text()
        try:
            self.state()
        except ConnectionError:
            return False
        return True

    def wait(self, done: Any, what: str, seconds: float = 120.0) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                raise AssertionError(f"no {what} within {seconds:g} s\n" + (self.root / "log").read_text())
            time.sleep(0.03)

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(timeout=60)
        self.process = None
        return code


@pytest.fixture(params=_pythons(), ids=lambda path: Path(path).parts[-3])
def daemon(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Daemon]:
    found = Daemon(tmp_path, request.param)
    yield found
    if found.process is not None:
        found.stop(signal.SIGKILL)


def test_zipapp_is_small_and_the_same_twice() -> None:
    first = updater_zipapp()
    updater_zipapp.cache_clear()
    assert updater_zipapp() == first
    # Not compressed: zlib packs otherwise from machine to machine, and signers sign these bytes.
    assert len(first) <= 1024 * 1024


def test_packing_runs_nothing_of_the_updater() -> None:
    program = "import sys, fleet.bootstrap.updater_package as p; p.updater_zipapp(); p.updater_version()\n"
    program += "print([m for m in sys.modules if m.startswith('runtime.updater')])"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=SOURCES.parent
    )
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize("python", _pythons(), ids=lambda path: Path(path).parts[-3])
def test_sources_compile(python: str, tmp_path: Path) -> None:
    for part in ("updater", "contract"):
        shutil.copytree(SOURCES / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([python, "-W", "error", "-m", "compileall", "-q", str(tmp_path)], check=True)


def test_version_is_what_the_operator_expects(daemon: Daemon) -> None:
    assert daemon.ask("version").stdout.strip() == updater_version()


def test_nothing_but_the_standard_library_is_imported(daemon: Daemon) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import runtime.updater.cli.main, runtime.updater.daemon.serve\n"
    )
    program += "print([m.__file__ for m in list(sys.modules.values()) if getattr(m, '__file__', None)])"
    ran = subprocess.run(
        [daemon.python, "-S", "-I", "-c", program, str(daemon.archive)], capture_output=True, text=True, check=True
    )
    assert "site-packages" not in ran.stdout
    assert "runtime/updater/daemon/serve.py" in ran.stdout


def test_without_a_daemon_status_reads_the_journal_and_says_so(daemon: Daemon) -> None:
    world = FakeWorld(daemon.root)
    journal = accept(JournalStore(daemon.root / "state").load()[0], order("1"), world.mark())
    JournalStore(daemon.root / "state").save(enter(journal, "probation", world.mark()))
    ran = daemon.ask("status")
    assert ran.returncode == 3
    assert "probation 1.1.0 for order order-1" in ran.stdout
    assert "the updater does not answer" in ran.stderr
    assert "systemctl start fleet-updater" in ran.stderr
    assert daemon.ask("confirm", "order-1").returncode == 3
    assert json.loads(daemon.ask("revert", "--json").stdout)["error"]["kind"] == "outside"


def test_daemon_answers_and_leaves_on_sigterm(daemon: Daemon) -> None:
    daemon.start()
    state = daemon.state()
    assert (state.robot, state.state, state.updater_version) == ("amr-001", "idle", updater_version())
    assert (daemon.root / "updater.sock").stat().st_mode & 0o777 == 0o660
    assert "amr-001" in daemon.ask("status").stdout
    attested = json.loads(daemon.ask("attest").stdout)
    assert "Docker Engine does not answer" in attested["report_error"]
    verified = json.loads(daemon.ask("verify", "--seconds", "2").stdout)
    assert "Docker Engine does not answer" in verified["verification_error"]
    refused = daemon.ask("verify", "--seconds", "600")
    assert (refused.returncode, "from 1 to 60" in refused.stderr) == (2, True)
    assert daemon.ask("history").stdout == "no order has ended on this robot yet\n"
    daemon.stop()
    assert not (daemon.root / "updater.sock").exists()


def test_idle_daemon_is_small(daemon: Daemon) -> None:
    daemon.start()
    assert daemon.process is not None
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    print(f"{daemon.python}: idle {resident} KiB")
    assert resident <= 20 * 1024


def test_second_daemon_is_refused(daemon: Daemon) -> None:
    daemon.start()
    second = daemon.ask("serve")
    assert second.returncode == 5
    assert "another updater runs" in second.stderr
    assert daemon.state().state == "idle"


def test_order_goes_its_way_after_the_client_has_left_and_ends_refused_without_docker(daemon: Daemon) -> None:
    daemon.start()
    told = canonical_json(replace(order("1"), issued_at=time.time())).decode()
    answer = from_json(UpdateState, daemon.ask("submit", stdin=told).stdout)
    assert (answer.state, answer.order_id) == ("preflight", "order-1")
    other = daemon.ask("submit", stdin=canonical_json(order("2")).decode())
    assert other.returncode == 5
    assert "order order-1 (1.1.0 of fleet warehouse) is in progress" in other.stderr
    daemon.wait(lambda: daemon.state().state == "idle", "end of the order")
    state = daemon.state()
    assert state.outcome == "refused"
    assert "Docker Engine does not answer" in state.reason
    assert "systemctl start docker" in state.hint
    assert [entry["outcome"] for entry in json.loads(daemon.ask("history", "--json").stdout)] == ["refused"]
    again = from_json(UpdateState, daemon.ask("submit", stdin=told).stdout)
    assert (again.state, again.outcome) == ("idle", "refused")


def test_abort_ends_an_order_that_waits(daemon: Daemon) -> None:
    daemon.start()
    daemon.ask("submit", stdin=canonical_json(replace(order("1"), issued_at=time.time())).decode())
    ran = daemon.ask("abort", "order-1", "--reason", "wrong one")
    assert ran.returncode == 0, ran.stderr
    state = from_json(UpdateState, ran.stdout)
    assert (state.state, state.outcome, state.reason) == ("idle", "refused", "aborted: wrong one")
    assert daemon.ask("abort", "other").returncode == 4


def test_killed_daemon_goes_on_where_it_was(daemon: Daemon) -> None:
    daemon.start()
    daemon.ask("submit", stdin=canonical_json(replace(order("1"), issued_at=time.time())).decode())
    daemon.stop(signal.SIGKILL)
    assert daemon.ask("status").returncode == 3
    daemon.start()
    daemon.wait(lambda: daemon.state().state == "idle", "end of the order")
    assert daemon.state().outcome == "refused"


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"not json\n", "Expecting value"),
        (b"[]\n", "a request is a JSON object"),
        (b'{"verb": "dance"}\n', "does not know 'dance'"),
        (b'{"verb": "submit"}\n', "UpdateOrder: expected an object"),
        (b'{"verb": "submit", "order": {"order_id": 5}}\n', "UpdateOrder.order_id: expected str"),
        (b'{"verb": "confirm", "order_id": []}\n', "order_id must be text"),
        (b'{"verb": "status"}', "the connection ended before the line did"),
        (b"x" * (4 * 1024 * 1024 + 65536), "at most 4194304 bytes"),
    ],
)
def test_what_the_socket_cannot_use_is_refused(daemon: Daemon, sent: bytes, said: str) -> None:
    daemon.start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(daemon.root / "updater.sock"))
        with contextlib.suppress(ConnectionError):  # refused before all of it was read
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
        answer = json.loads(connection.makefile().readline())
    assert answer["ok"] is False
    assert answer["error"]["kind"] == "usage"
    assert said in answer["error"]["message"]
    assert daemon.state().state == "idle"


def test_a_request_that_is_too_long_is_told_so(daemon: Daemon) -> None:
    daemon.start()
    with pytest.raises(Rejected, match="at most 4194304 bytes"):
        ask(daemon.root / "updater.sock", {"verb": "status", "more": "x" * (9 << 20)})
    assert daemon.state().state == "idle"


@pytest.mark.parametrize("sent", ["", "{}", "not json"])
def test_bad_order_on_stdin_is_a_usage_error(daemon: Daemon, sent: str) -> None:
    daemon.start()
    ran = daemon.ask("submit", stdin=sent)
    assert ran.returncode == 2
    assert "UpdateOrder" in ran.stderr
