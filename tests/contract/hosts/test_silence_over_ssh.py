"""Every way to be silent over a real OpenSSH server: forgiven while it lasts, named when it does not end."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import fleet.link.robot
from fleet.adapters.ssh.ssh_shell import SshShells
from fleet.adapters.system_clock import SystemClock
from fleet.errors import RobotError
from fleet.link.robot import RobotClient, RobotLost
from runtime.contract.codec import canonical_json
from runtime.contract.robot.update import UpdateState
from tests.contract.hosts.local_sshd import SSHD, LocalSshd

ANSWER = canonical_json(UpdateState("amr-001", "idle", "1.0")).decode()
STOPPED = "exec sleep 600"
"""What a client of a stopped daemon does: nothing, until its caller gives up."""


class Robot:
    """A machine whose `fleet-updater` is a script; what it does is written anew whenever it is to change."""

    def __init__(self, folder: Path, server: LocalSshd, command: Path) -> None:
        self.server = server
        self.command = command
        self.answers(f"printf %s {shlex.quote(ANSWER)}")
        config = folder / "ssh_config"
        config.write_text("Host *\n  IdentitiesOnly yes\n")
        shells = SshShells(folder / "known_hosts", ssh_config=config)
        shells.learn_host_key(server.address())
        self.client = RobotClient(server.address(), shells, SystemClock(), connect_timeout_s=2.0, status_timeout_s=1.0)

    def answers(self, script: str) -> None:
        self.command.write_text(f"#!/bin/sh\n{script}\n")
        self.command.chmod(0o755)


@pytest.fixture
def robot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Robot]:
    if SSHD is None:
        pytest.skip("no sshd here: apt-get install openssh-server")
    command = tmp_path / "fleet-updater"
    monkeypatch.setattr(fleet.link.robot, "COMMAND_PATH", str(command))
    server = LocalSshd(tmp_path)
    server.start()
    try:
        yield Robot(tmp_path, server, command)
    finally:
        server.stop()


def hangs(robot: Robot) -> None:
    robot.answers(STOPPED)


def is_killed(robot: Robot) -> None:
    robot.answers("kill -KILL $$")


def talks_nonsense(robot: Robot) -> None:
    robot.answers("echo welcome")


def is_gone(robot: Robot) -> None:
    robot.server.stop()


def stands_still(robot: Robot) -> None:
    """The whole connection, sshd included."""
    robot.answers(STOPPED)
    robot.server.signal_connections(signal.SIGSTOP)


KINDS = [
    (hangs, "did not end within 1 s"),
    (is_killed, "killed by a signal"),
    (talks_nonsense, "cannot read"),
    (is_gone, "refused the connection|connection was lost"),
    (stands_still, "did not end within 1 s|connection was lost"),
]


@pytest.mark.parametrize(("goes_silent", "words"), KINDS)
def test_silence_is_forgiven_while_it_lasts_and_named_when_it_does_not_end(
    robot: Robot, goes_silent: Callable[[Robot], None], words: str
) -> None:
    assert robot.client.status().state == "idle"
    told: list[str] = []

    def wait(silent_s: float, comes_back: bool) -> UpdateState:
        def on_silence(error: RobotError, _until: float) -> None:
            told.append(error.words)
            if comes_back:
                robot.answers(f"printf %s {shlex.quote(ANSWER)}")
                if goes_silent is is_gone:
                    robot.server.start()
                robot.server.signal_connections(signal.SIGCONT)

        now = SystemClock().monotonic()
        return robot.client.wait_for(
            lambda state: state.state == "idle",
            what="the update",
            deadline=now + 60.0,
            silent_until=lambda _seen, since: since + silent_s,
            on_silence=on_silence,
        )

    goes_silent(robot)
    assert wait(60.0, comes_back=True).state == "idle"
    goes_silent(robot)
    with pytest.raises(RobotLost, match=words):
        wait(0.0, comes_back=False)
    assert len(told) == 2
