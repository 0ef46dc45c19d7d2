"""`~/.ssh/config` as people have it: both programs end at the same machine, by the same way."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.adapters.ssh.config import resolve
from fleet.adapters.ssh.ssh_shell import SshShells
from fleet.errors import OutsideError, RobotError
from tests.contract.openssh.site import Operator, Site

ASK = "echo $SSH_CONNECTION"

#: Name → configuration, host in the manifest, address at which the connection must end.
SAME = {
    "host name": ("Host robot\n  HostName 127.0.0.3\n", "robot", "127.0.0.3"),
    "tokens in HostName": ("Host 0.0.4\n  HostName 127.%h\n", "0.0.4", "127.0.0.4"),
    "match localnetwork": ("Match localnetwork 9.8.7.6/32\n  ProxyJump bastion.invalid\n", "127.0.0.3", "127.0.0.3"),
    "match final": ("Host *\n  ForwardX11 no\nMatch final all\n  ServerAliveInterval 30\n", "127.0.0.3", "127.0.0.3"),
    "match host with =": ("Match host=robot\n  HostName 127.0.0.3\n", "robot", "127.0.0.3"),
    "match originalhost": (
        "Host robot\n  HostName 127.0.0.3\nMatch originalhost robot host 127.*\n  ServerAliveInterval 7\n",
        "robot",
        "127.0.0.3",
    ),
    "match exec": ('Match originalhost robot exec "test %n = robot"\n  HostName 127.0.0.5\n', "robot", "127.0.0.5"),
    "match exec that fails": ("Match exec false\n  HostName 127.0.0.5\n", "127.0.0.3", "127.0.0.3"),
    "negation": (
        "Host *.lan !good.lan\n  HostName 127.9.9.9\nHost good.lan\n  HostName 127.0.0.6\n",
        "good.lan",
        "127.0.0.6",
    ),
    "jump none": (
        "Host 127.0.0.3\n  ProxyJump none\nHost 127.*\n  ProxyJump bastion.invalid\n",
        "127.0.0.3",
        "127.0.0.3",
    ),
    "jump": ("Host 127.0.0.3\n  ProxyJump {user}@127.0.0.7:{port_plain}\n", "127.0.0.3", "127.0.0.3"),
    "jump as URI": ("Host 127.0.0.3\n  ProxyJump ssh://{user}@127.0.0.7:{port_plain}\n", "127.0.0.3", "127.0.0.3"),
    "two jumps": (
        """
Host 127.0.0.3
  ProxyJump first,second
Host first
  HostName 127.0.0.8
  Port {port_plain}
Host second
  HostName 127.0.0.9
  Port {port_bash}
  ProxyJump bastion.invalid
""",
        "127.0.0.3",
        "127.0.0.3",
    ),
    "jump behind a jump": (
        """
Host 127.0.0.3
  ProxyJump second
Host second
  HostName 127.0.0.9
  Port {port_bash}
  ProxyJump first
Host first
  HostName 127.0.0.8
  Port {port_plain}
""",
        "127.0.0.3",
        "127.0.0.3",
    ),
    "proxy command": (
        """
Host robot
  HostName 127.0.0.3
  ProxyCommand ssh -F {{config}} -o BatchMode=yes -W %h:%p -p {port_plain} 127.0.0.8
""",
        "robot",
        "127.0.0.3",
    ),
    "quotes and =": ('Host "robot"\n  HostName="127.0.0.3"\n', "robot", "127.0.0.3"),
    "algorithms": (
        "Host *\n  Ciphers aes256-ctr\n  KexAlgorithms ecdh-sha2-nistp256\n  MACs hmac-sha2-256\n  Compression yes\n",
        "127.0.0.3",
        "127.0.0.3",
    ),
    "address family": ("Host *\n  AddressFamily inet\n  BindAddress 127.0.0.1\n", "127.0.0.3", "127.0.0.3"),
}


@pytest.mark.parametrize("case", SAME)
def test_both_end_at_the_same_machine(operator: Operator, case: str) -> None:
    config, host, ends_at = SAME[case]
    operator.writes(config.replace("{{config}}", str(operator.home / "config")) + operator.keys)
    robot = operator.site.address(host)
    beside = operator.ssh(robot, ASK)
    if "Unsupported Match attribute" in beside.err:  # An OpenSSH that is older than the attribute, on this machine.
        with pytest.raises(OutsideError, match="Unsupported Match attribute"):
            operator.fleet(robot, "true")
        return
    assert beside.code == 0, beside.err
    ours = operator.fleet(robot, "sh", "-c", ASK)
    assert ours.split()[0] == beside.out.split()[0], "both come from the same machine"
    assert (ours.split()[2], beside.out.split()[2]) == (ends_at, ends_at)


def test_includes_with_globs_are_read_and_a_new_file_is_seen(operator: Operator) -> None:
    folder = operator.home / "config.d"
    folder.mkdir()
    (folder / "10-other.conf").write_text("Host other\n  HostName 127.9.9.9\n")
    operator.writes(f"Include {folder}/*.conf\n" + operator.keys)
    robot = operator.site.address("robot")
    with pytest.raises(RobotError):
        operator.fleet(robot, "true")
    (folder / "20-robot.conf").write_text("Host robot\n  HostName 127.0.0.3\n")
    assert operator.ssh(robot, "true").code == 0
    assert operator.fleet(robot, "sh", "-c", ASK).split()[2] == "127.0.0.3"


def test_port_and_user_come_from_the_configuration_where_the_manifest_is_silent(operator: Operator) -> None:
    operator.writes("Host robot\n  HostName 127.0.0.3\n  Port {port_plain}\n" + operator.keys)
    silent = replace(operator.site.address("robot"), port=22, port_given=False)
    assert operator.ssh(silent, "true").code == 0
    assert operator.fleet(silent, "sh", "-c", ASK).split()[3] == str(operator.site.ports["plain"])
    pinned = (operator.home / "pins").read_text().splitlines()[-1]
    assert pinned.startswith(f"amr-001,[robot]:{operator.site.ports['plain']} ssh-ed25519 ")


def test_the_manifests_port_and_user_win(operator: Operator) -> None:
    operator.writes("Host robot\n  HostName 127.0.0.3\n  Port 9\n  User nobody-here\n" + operator.keys)
    robot = operator.site.address("robot")
    assert operator.ssh(robot, "true").code == 0
    assert operator.fleet(robot, "true") == ""


def test_a_user_of_the_configuration_is_taken_where_the_manifest_names_none(operator: Operator) -> None:
    operator.writes("Host robot\n  HostName 127.0.0.3\n  User nobody-here\n" + operator.keys)
    silent = replace(operator.site.address("robot"), user="jetson", user_given=False)
    assert "nobody-here@" in operator.refused(silent).message
    operator.writes("Host robot\n  HostName 127.0.0.3\n" + operator.keys)
    with pytest.raises(RobotError, match="jetson@robot"):  # The manifest's default, not this machine's user.
        operator.fleet(silent, "true")


def test_openssh_is_asked_once_for_each_host_and_not_at_all_the_next_time(operator: Operator) -> None:
    operator.writes(
        "Host robot*\n  HostName 127.0.0.3\n  ProxyJump bastion\nHost bastion\n"
        "  HostName 127.0.0.8\n  Port {port_plain}\n" + operator.keys
    )
    robots = [operator.site.address(f"robot-{n}") for n in range(3)]
    first, second, third = operator.shells, operator.shells, operator.shells
    for robot in robots * 2:
        first.resolver.route(robot)
    assert first.resolver.calls == 4, "three robots and their one jump host"
    assert second.resolver.route(robots[0]).jumps[0].hostname == "127.0.0.8"
    assert second.resolver.calls == 0
    config = operator.home / "config"
    config.write_text(config.read_text().replace("127.0.0.8", "127.0.0.9"))
    assert third.resolver.route(robots[0]).jumps[0].hostname == "127.0.0.9"
    assert third.resolver.calls == 2


def test_an_answer_that_a_program_decides_is_asked_for_each_time(operator: Operator) -> None:
    switch = operator.home / "switch"
    operator.writes(f'Match exec "test -e {switch}"\n  HostName 127.0.0.5\n')
    robot = operator.site.address("robot")
    assert operator.shells.resolver.route(robot).robot.hostname == "robot"
    switch.touch()
    assert operator.shells.resolver.route(robot).robot.hostname == "127.0.0.5"


@pytest.mark.parametrize(
    "wrong", ["nonsense\n", "Match nonsense\n", "Host *\n  Port many\n", "Include /dev/null/*\nHos x\n"]
)
def test_a_wrong_configuration_is_said_in_openssh_s_words(operator: Operator, wrong: str) -> None:
    operator.writes(wrong)
    said = operator.refused(operator.site.address())
    assert isinstance(said, OutsideError)
    assert said.message.startswith("the SSH configuration cannot be read: ")
    assert f"{operator.home}/config" in said.message


def test_a_jump_host_that_jumps_through_itself_is_said_in_openssh_s_words(operator: Operator) -> None:
    operator.writes("Host *\n  ProxyJump bastion\n" + operator.keys)
    said = operator.refused(operator.site.address())
    assert said.exit_code == 3
    assert "loop" in said.message or "more than 8 jump hosts" in said.message


def test_jumps_that_lead_in_a_circle_are_said(operator: Operator) -> None:
    """`ssh` itself starts one more `ssh` for each round, without end: it is not tried here."""
    operator.writes("Host a\n  ProxyJump b\nHost b\n  ProxyJump a\nHost 127.*\n  ProxyJump a\n")
    with pytest.raises(RobotError, match="more than 8 jump hosts") as caught:
        operator.fleet(operator.site.address(), "true")
    assert "ProxyJump none" in caught.value.hint


@pytest.mark.parametrize(
    ("line", "words", "hint"),
    [
        ("KexAlgorithms sntrup761x25519-sha512@openssh.com", "of the kexalgorithms", "curve25519"),
        ("HostKeyAlgorithms sk-ssh-ed25519@openssh.com", "of the hostkeyalgorithms", "ssh-ed25519"),
        ("ProxyCommand true\n  ProxyUseFdpass yes", "ProxyUseFdpass", "ProxyJump"),
    ],
)
def test_what_fleet_does_not_do_is_said(operator: Operator, line: str, words: str, hint: str) -> None:
    operator.writes(f"Host *\n  {line}\n" + operator.keys)
    with pytest.raises(RobotError) as caught:
        operator.fleet(operator.site.address(), "true")
    assert (words in caught.value.message, hint in caught.value.hint) == (True, True)


# ── another home, and no OpenSSH ─────────────────────────────────────────────────────────────────────────────────


def test_a_home_that_is_not_the_accounts_is_read_with_its_relative_includes(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "home" / ".ssh"
    (folder / "config.d").mkdir(parents=True)
    (folder / "config").write_text("Include config.d/*.conf\nHost *\n  IdentityFile ~/.ssh/%n-key\n")
    (folder / "config.d" / "robots.conf").write_text("Host robot\n  HostName 127.0.0.3\n  ProxyJump 127.0.0.8\n")
    shutil.copy(site.identity, folder / "robot-key")
    shutil.copy(site.identity, folder / "127.0.0.8-key")
    (folder / "known_hosts").write_text(f"127.0.0.8 {site.host_key}\n{site.known()}")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with (folder / "config").open("a") as file:
        file.write(f"Host 127.0.0.8\n  Port {site.ports['plain']}\n  User {site.user}\n")
    shells = SshShells(tmp_path / "pins")
    robot = site.address("robot")
    shells.learn_host_key(robot)
    shell = shells.connect(robot)
    assert shell.run(["sh", "-c", ASK]).stdout.split()[2] == "127.0.0.3"
    shell.close()
    (folder / "config.d" / "robots.conf").write_text("Host robot\n  Port x\n")
    with pytest.raises(OutsideError, match=rf"{folder}/config\.d/robots\.conf"):
        SshShells(tmp_path / "pins").connect(robot)


@pytest.fixture
def without_ssh(monkeypatch: pytest.MonkeyPatch) -> None:
    """No `ssh` program is found."""
    find = shutil.which
    monkeypatch.setattr(resolve.shutil, "which", lambda name, *rest: None if name == "ssh" else find(name, *rest))


@pytest.mark.usefixtures("without_ssh")
def test_without_openssh_the_parser_of_our_own_reads_it_and_says_so_once(operator: Operator) -> None:
    operator.writes(
        "Host robot\n  HostName 127.0.0.3\n  ProxyJump bastion\n"
        "Host bastion\n  HostName 127.0.0.8\n  Port {port_plain}\n  User {user}\n" + operator.keys
    )
    robot = operator.site.address("robot")
    assert operator.fleet(robot, "sh", "-c", ASK).split()[2] == "127.0.0.3"
    ((about, words),) = operator.notes
    assert (about, "no `ssh` program" in words) == ("", True)


@pytest.mark.usefixtures("without_ssh")
@pytest.mark.parametrize(
    "line", ["Include x.conf", "Match exec true", "Match localnetwork 10.0.0.0/8", "Match final all"]
)
def test_without_openssh_what_only_it_knows_is_refused(operator: Operator, line: str) -> None:
    operator.writes(f"{line}\n  User x\n")
    with pytest.raises(OutsideError, match="needs OpenSSH's client") as caught:
        operator.fleet(operator.site.address(), "true")
    assert "openssh-client" in caught.value.hint


def test_an_account_without_an_entry_uses_the_parser_of_our_own(
    operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container started with a number for a user: `ssh` says "No user exists for uid" and ends."""
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'No user exists for uid 1000770000' >&2\nexit 255\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    operator.writes("Host robot\n  HostName 127.0.0.3\n" + operator.keys)
    assert subprocess.run(["ssh", "-V"], check=False, capture_output=True).returncode == 255
    assert operator.fleet(operator.site.address("robot"), "sh", "-c", ASK).split()[2] == "127.0.0.3"
    assert "No user exists" in operator.notes[0][1]
