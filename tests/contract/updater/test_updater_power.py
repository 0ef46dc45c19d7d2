"""The power socket of a real updater: real processes, a real socket, a stand-in for nvpmodel on PATH."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.contract.codec import canonical_json
from runtime.contract.robot.power import ENV_POWER, ENV_UID, GovernorSettings, PowerPolicy
from runtime.updater.state.release_folder import files_of, target_of
from runtime.updater.state.world import Links
from runtime.updater.storage.folders import ReleaseFolders
from tests.contract.updater.test_updater_process import Daemon, _pythons
from tests.fakes.nvpmodel import Jetson
from tests.fakes.robots.robot_world import order

POLICY = PowerPolicy("25W", ("25W", "40W"), sm_count=8, governor=GovernorSettings())


class Robot(Daemon):
    """An updater on a machine with power modes."""

    def __init__(self, root: Path, python: str) -> None:
        super().__init__(root, python)
        self.jetson = Jetson(root)
        self.environment["PATH"] = f"{self.jetson.bin}:{self.environment['PATH']}"
        self.options = ("--machine", str(self.jetson.root))
        self.socket = root / "power" / "power.sock"

    def release(self, policy: PowerPolicy | None, uid: int | None = None) -> None:
        """Let a release with this policy be the current one."""
        environment = {} if policy is None else {ENV_POWER: canonical_json(policy).decode()}
        if uid is not None:
            environment[ENV_UID] = str(uid)
        meant = order("1", environment=environment)
        folders = ReleaseFolders(self.root)
        folders.write_release(target_of(meant).folder, files_of(meant))
        folders.set_links(Links(target_of(meant).folder))

    def want(self, request: Any) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(60.0)
            connection.connect(str(self.socket))
            connection.sendall(json.dumps(request).encode() + b"\n")
            answer: dict[str, Any] = json.loads(connection.makefile().readline())
        return answer


@pytest.fixture(params=_pythons(), ids=lambda path: Path(path).parts[-3])
def robot(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Robot]:
    found = Robot(tmp_path, request.param)
    yield found
    if found.process is not None:
        found.stop(signal.SIGKILL)


@pytest.fixture
def open_robot() -> Iterator[Robot]:
    """In a folder that other users may enter, which those of pytest are not."""
    with tempfile.TemporaryDirectory(prefix="power-") as folder:
        Path(folder).chmod(0o755)
        found = Robot(Path(folder), sys.executable)
        yield found
        if found.process is not None:
            found.stop(signal.SIGKILL)


def test_a_mode_is_asked_for_set_verified_and_logged(robot: Robot) -> None:
    robot.release(POLICY, os.geteuid())
    robot.start()
    assert robot.socket.stat().st_mode & 0o777 == 0o666
    assert robot.socket.parent.stat().st_mode & 0o777 == 0o755
    answer = robot.want({"verb": "power", "want": "40W", "why": "busy"})
    assert answer["ok"], answer
    assert (answer["value"]["mode"], answer["value"]["verified"]) == ("40W", True)
    assert robot.jetson.mode == "40W"
    log = (robot.root / "log").read_text()
    assert f"power: 25W -> 40W, verified; asked for by user {os.geteuid()} (process {os.getpid()}): busy" in log
    assert json.loads(robot.ask("power", "--json").stdout)["mode"] == "40W"
    assert robot.state().state == "idle"


def test_what_needs_a_reboot_is_said_and_not_done(robot: Robot) -> None:
    robot.release(PowerPolicy("25W", ("15W", "25W", "40W"), governor=GovernorSettings()), os.geteuid())
    robot.jetson.habit("asks")
    robot.start()
    for want in ("15W", "40W"):  # one that the table tells, one that only the tool itself does
        value = robot.want({"verb": "power", "want": want})["value"]
        assert value["mode"] == "25W"
        assert want in value["reboot_needed"]
        assert "sudo nvpmodel -m" in value["problem"]
    assert robot.jetson.sets() == ["-m 4"]
    assert not robot.jetson.rebooted
    assert robot.jetson.mode == "25W"


@pytest.mark.parametrize(
    ("request_", "kind", "says"),
    [
        ({"verb": "power", "want": "10W"}, "refused", "does not allow power mode 10W"),
        ({"verb": "power", "want": 4}, "usage", "the power socket knows"),
        ({"verb": "submit"}, "usage", "the power socket knows"),
        ({"verb": "power", "want": "40W", "why": ["x"]}, "usage", "the power socket knows"),
        ([], "usage", "a request is a JSON object"),
    ],
)
def test_nothing_else_can_be_had_there(robot: Robot, request_: Any, kind: str, says: str) -> None:
    robot.release(POLICY, os.geteuid())
    robot.start()
    answer = robot.want(request_)
    assert (answer["ok"], answer["error"]["kind"]) == (False, kind)
    assert says in answer["error"]["message"]
    assert robot.jetson.sets() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_somebody_else_is_refused_before_a_word_is_read(open_robot: Robot) -> None:
    robot = open_robot
    robot.release(POLICY, 4321)
    robot.start()
    program = (
        "import json, socket, sys\n"
        "connection = socket.socket(socket.AF_UNIX)\n"
        "connection.settimeout(60)\n"
        f"connection.connect({str(robot.socket)!r})\n"
        "try:\n"
        '    connection.sendall(b\'{"verb": "power", "want": "40W"}\\n\')\n'
        "except ConnectionError:\n"
        "    pass  # refused before it was read\n"
        "print(connection.makefile().readline())\n"
    )

    def as_user(uid: int) -> dict[str, Any]:
        ran = subprocess.run(
            ["/usr/bin/python3", "-I", "-c", program], user=uid, group=uid, extra_groups=[], check=True,
            capture_output=True, text=True, timeout=90, cwd="/",
        )  # fmt: skip
        answer: dict[str, Any] = json.loads(ran.stdout)
        return answer

    refused = as_user(1000)
    assert refused["error"]["message"] == "user 1000 may not ask for a power mode"
    assert "user 4321" in refused["error"]["hint"]
    assert robot.jetson.sets() == []
    assert "power: user 1000 is not allowed to ask" in (robot.root / "log").read_text()
    assert as_user(4321)["value"]["mode"] == "40W"


def test_a_robot_without_a_governor_gets_its_mode_without_anybody_asking(robot: Robot) -> None:
    robot.release(PowerPolicy("40W", ("40W",), sm_count=8))
    robot.start()
    robot.wait(lambda: robot.jetson.mode == "40W", "power mode 40W")


def test_a_robot_whose_release_says_nothing_is_left_alone(robot: Robot) -> None:
    robot.release(None, os.geteuid())
    robot.start()
    assert "does not allow" in robot.want({"verb": "power", "want": "40W"})["error"]["message"]
    assert robot.jetson.calls == []


def test_a_daemon_that_starts_again_makes_the_socket_anew(robot: Robot) -> None:
    robot.release(POLICY, os.geteuid())
    robot.start()
    robot.stop(signal.SIGKILL)
    robot.start()
    deadline = time.monotonic() + 40
    while True:
        try:
            answer = robot.want({"verb": "power"})
            break
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.03)
    assert answer["ok"]


def test_a_place_where_no_socket_can_be_costs_only_the_socket(robot: Robot) -> None:
    (robot.root / "power").write_text("in the way")
    robot.release(POLICY, os.geteuid())
    robot.start()
    assert robot.state().state == "idle"
    assert "power: cannot listen on" in (robot.root / "log").read_text()


def test_idle_daemon_with_power_is_small(robot: Robot) -> None:
    robot.release(POLICY, os.geteuid())
    robot.start()
    for want in ("40W", "25W", "40W"):
        assert robot.want({"verb": "power", "want": want})["value"]["mode"] == want
    assert robot.process is not None
    status = Path(f"/proc/{robot.process.pid}/status").read_text()
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    print(f"{robot.python}: with power {resident} KiB")
    assert resident <= 20 * 1024  # as of the idle daemon
