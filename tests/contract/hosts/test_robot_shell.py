"""The fake and the adapter keep one contract; the adapter keeps it against a real OpenSSH server."""

from __future__ import annotations

import hashlib
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from fleet.adapters.ssh.ssh_shell import PUT_PROGRAM, SshShells
from fleet.errors import HostKeyError, NotPinned, OutsideError, RobotError, RobotOffline, RobotSilent
from fleet.ports import RobotAddress, RobotShell, RobotShells
from tests.contract.hosts.local_sshd import LocalSshd, keygen
from tests.fakes.robots.robot_shell import FakeHost, FakeRobotShells


@dataclass
class Site:
    """One robot, and the means to make things go wrong."""

    shells: RobotShells
    address: RobotAddress
    folder: str
    """Exists on the robot."""
    change_key: Callable[[], None]
    cut: Callable[[], object]
    """Break the connections there are."""
    stop: Callable[[], None]

    def connect(self) -> RobotShell:
        self.shells.learn_host_key(self.address)
        return self.shells.connect(self.address)


def fake_site() -> Site:
    host = FakeHost()
    shells = FakeRobotShells({"10.0.0.11": host})

    def change_key() -> None:
        host.host_key = "ssh-ed25519 SHA256:second"

    def stop() -> None:
        host.online = False

    return Site(shells, RobotAddress("amr-001", "10.0.0.11", 22, "jetson"), "/tmp", change_key, stop, stop)


@pytest.fixture(params=["fake", "openssh"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    if request.param == "fake":
        yield fake_site()
        return
    server = LocalSshd(tmp_path)
    server.start()

    def change_key() -> None:
        server.stop()
        server.new_host_key()
        server.start()

    shells = SshShells(tmp_path / "pins" / "known_hosts", ssh_config=empty(tmp_path))
    try:
        yield Site(
            shells,
            server.address(),
            str(tmp_path),
            change_key,
            lambda: server.signal_connections(signal.SIGKILL),
            server.stop,
        )
    finally:
        server.stop()


def empty(folder: Path) -> Path:
    """Return an SSH configuration that says nothing: the user's own must not decide a test."""
    path = folder / "ssh_config"
    path.write_text("Host *\n  IdentitiesOnly yes\n")
    return path


# ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_arguments_arrive_as_given(site: Site) -> None:
    shell = site.connect()
    nasty = ["a  b", "$(touch /tmp/pwned)", "`id`", "'", '"', ";", "&&", "*", "\\", "ü", "line\nbreak", ""]
    result = shell.run(["echo", *nasty])
    assert result.stdout == " ".join(nasty) + "\n"
    assert (result.exit_code, result.stderr) == (0, "")
    shell.close()


def test_exit_code_and_stderr_are_told_apart(site: Site) -> None:
    shell = site.connect()
    assert shell.run(["false"]).exit_code == 1
    result = shell.run(["ls", "/no/such/place"])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "/no/such/place" in result.stderr
    assert shell.run(["no-such-program-here"]).exit_code == 127
    shell.close()


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_stdin_arrives_whole_and_ends(site: Site, size: int) -> None:
    shell = site.connect()
    text = "0123456789" * (size // 10) + "x" * (size % 10)
    assert shell.run(["cat"], stdin=text).stdout == text
    shell.close()


def test_a_command_past_its_deadline_is_an_error_of_this_robot(site: Site) -> None:
    shell = site.connect()
    with pytest.raises(RobotSilent, match=r"^amr-001: .*did not end within 0\.5 s") as caught:
        shell.run(["sleep", "60"], timeout_s=0.5)
    assert not isinstance(caught.value, RobotOffline)
    assert caught.value.hint
    shell.close()


def test_endless_output_is_stopped(site: Site) -> None:
    shell = site.connect()
    with pytest.raises(RobotError, match="more than 4 MiB"):
        shell.run(["yes"])
    assert shell.run(["echo", "still usable"]).stdout == "still usable\n"
    shell.close()


def test_an_interruption_ends_what_other_threads_run_and_nothing_begins_after_it(site: Site) -> None:
    shell = site.connect()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(shell.run, ["sleep", "30"], timeout_s=60.0)
        site.shells.interrupt()
        with pytest.raises(RobotError, match="interrupted"):
            running.result(timeout=25.0)  # before the sleep would end
    with pytest.raises(RobotError, match="interrupted"):
        site.shells.connect(site.address)
    with pytest.raises(RobotError, match="interrupted"):
        site.shells.learn_host_key(site.address)
    shell.close()


def test_stream_hands_over_whole_lines_and_the_exit_code(site: Site) -> None:
    shell = site.connect()
    lines: list[str] = []
    assert shell.stream(["echo", "one\ntwo\n\nthree"], lines.append) == 0
    assert lines == ["one", "two", "", "three"]
    assert shell.stream(["false"], lines.append) == 1
    shell.close()


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_put_replaces_a_file_whole(site: Site) -> None:
    shell = site.connect()
    path = f"{site.folder}/file with space"
    shell.put(b"first\n", path)
    shell.put(b"second\n" * 50_000, path, mode=0o755)
    assert shell.run(["cat", path]).stdout == "second\n" * 50_000
    shell.close()


def test_put_where_it_cannot_is_an_error(site: Site) -> None:
    shell = site.connect()
    with pytest.raises(RobotError, match="cannot write /no/such/place/file"):
        shell.put(b"x", "/no/such/place/file")
    shell.close()


# ── host keys ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_robot_without_pinned_key_is_refused(site: Site) -> None:
    with pytest.raises(NotPinned, match="no host key is pinned") as caught:
        site.shells.connect(site.address)
    assert caught.value.hint == "fleet bootstrap --robots amr-001"


def test_learning_twice_is_the_same_key(site: Site) -> None:
    assert site.shells.learn_host_key(site.address) == site.shells.learn_host_key(site.address)


def test_a_changed_key_is_refused_until_replaced(site: Site) -> None:
    first = site.shells.learn_host_key(site.address)
    site.change_key()
    with pytest.raises(HostKeyError) as caught:
        site.shells.connect(site.address)
    assert first.split()[-1] in caught.value.message
    assert caught.value.message.count("SHA256:") == 2
    assert "--accept-new-host-key" in caught.value.hint
    with pytest.raises(HostKeyError):
        site.shells.learn_host_key(site.address)
    second = site.shells.learn_host_key(site.address, replace=True)
    assert second != first
    site.shells.connect(site.address).close()


# ── links ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_robot_that_is_off_is_offline(site: Site) -> None:
    site.shells.learn_host_key(site.address)
    site.stop()
    with pytest.raises(RobotOffline) as caught:
        site.shells.connect(site.address, timeout_s=2.0)
    assert caught.value.exit_code == 6
    with pytest.raises(RobotOffline):
        site.shells.learn_host_key(site.address, timeout_s=2.0)


def test_a_cut_link_is_offline(site: Site) -> None:
    shell = site.connect()
    assert shell.run(["echo", "up"]).exit_code == 0
    site.cut()
    with pytest.raises(RobotOffline, match="connection was lost"):
        shell.run(["echo", "down"])
    shell.close()


def test_a_closed_shell_is_not_used_again(site: Site) -> None:
    shell = site.connect()
    shell.close()
    shell.close()
    with pytest.raises(RobotOffline):
        shell.run(["echo", "x"])


# ── only with a real server ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalSshd]:
    server = LocalSshd(tmp_path)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def shells_of(server: LocalSshd, config: str = "Host *\n  IdentitiesOnly yes\n") -> SshShells:
    path = server.folder / "ssh_config"
    path.write_text(config)
    return SshShells(server.folder / "known_hosts", ssh_config=path)


def connected(server: LocalSshd) -> RobotShell:
    shells = shells_of(server)
    shells.learn_host_key(server.address())
    return shells.connect(server.address())


def running(marker: str) -> bool:
    """Say whether a process with this argument runs on the machine."""
    return any(marker.encode() in arguments(entry) for entry in Path("/proc").glob("[0-9]*/cmdline"))


def arguments(cmdline: Path) -> list[bytes]:
    try:
        return cmdline.read_bytes().split(b"\0")
    except OSError:
        return []  # It ended while we looked.


def gone(marker: str, within_s: float = 10.0) -> bool:
    deadline = time.monotonic() + within_s
    while running(marker):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_past_the_deadline_the_remote_process_is_ended(server: LocalSshd) -> None:
    shell, marker = connected(server), uuid.uuid4().hex
    with pytest.raises(RobotError, match="did not end within"):
        shell.run(["sh", "-c", "sleep 600", marker], timeout_s=1.0)
    assert gone(marker)
    assert shell.run(["echo", "usable"]).stdout == "usable\n"
    shell.close()


def test_a_robot_that_says_nothing_at_all_meets_the_deadline(server: LocalSshd) -> None:
    shell = connected(server)
    assert server.signal_connections(signal.SIGSTOP) > 0
    started = time.monotonic()
    with pytest.raises((RobotOffline, RobotSilent), match=r"was lost|did not end"):
        shell.run(["echo", "x"], timeout_s=1.0)
    assert time.monotonic() - started < 30.0
    shell.close()


def test_a_link_cut_in_the_middle_of_a_command_is_noticed_at_once(server: LocalSshd) -> None:
    shell = connected(server)
    cut = threading.Timer(0.5, lambda: server.signal_connections(signal.SIGKILL))
    cut.start()
    started = time.monotonic()
    with pytest.raises(RobotOffline, match="connection was lost during sleep"):
        shell.run(["sleep", "60"], timeout_s=120.0)
    assert time.monotonic() - started < 50.0  # not by the sleep's own end
    cut.join()
    shell.close()


def test_a_killed_command_is_not_a_lost_link(server: LocalSshd) -> None:
    shell = connected(server)
    with pytest.raises(RobotSilent, match="killed by a signal") as caught:
        shell.run(["sh", "-c", "kill -KILL $$"])
    assert not isinstance(caught.value, RobotOffline)
    shell.close()


def test_ctrl_c_ends_what_streams(server: LocalSshd) -> None:
    shell, marker = connected(server), uuid.uuid4().hex

    def on_line(line: str) -> None:
        assert running(marker)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shell.stream(["sh", "-c", "while :; do echo up; sleep 0.1; done", marker], on_line)
    assert gone(marker)
    shell.close()


def test_an_interruption_ends_the_command_at_the_robot(server: LocalSshd) -> None:
    shells, marker = shells_of(server), uuid.uuid4().hex
    shells.learn_host_key(server.address())
    shell = shells.connect(server.address())
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(shell.run, ["sh", "-c", "while :; do echo up; sleep 0.1; done", marker], timeout_s=60.0)
        deadline = time.monotonic() + 10.0
        while not running(marker) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert running(marker)
        shells.interrupt()
        with pytest.raises(RobotError, match="interrupted"):
            ended.result()
    assert gone(marker)
    shell.close()


def test_half_a_file_never_replaces_a_whole_one(server: LocalSshd) -> None:
    shell = connected(server)
    target = server.folder / "target"
    target.write_text("old")
    digest = hashlib.sha256(b"new and whole").hexdigest()
    command = ["sh", "-c", PUT_PROGRAM, "put", f"{target}.part", digest, "644", str(target)]
    assert shell.run(command, stdin="new and").exit_code == 1
    assert target.read_text() == "old"
    assert not Path(f"{target}.part").exists()
    assert shell.run(command, stdin="new and whole").exit_code == 0
    assert target.read_text() == "new and whole"
    shell.close()


def test_a_login_that_is_refused_says_what_was_tried(server: LocalSshd) -> None:
    shells = shells_of(server)
    shells.learn_host_key(server.address())
    keygen(server.folder / "other")
    stranger = replace(server.address(), identity_file=str(server.folder / "other"))
    with pytest.raises(RobotError, match="refused the login") as caught:
        shells.connect(stranger)
    assert not isinstance(caught.value, RobotOffline)
    assert str(server.folder / "other") in caught.value.message
    with pytest.raises(RobotError, match="nobody-here@127"):
        shells.connect(replace(server.address(), user="nobody-here"))


def test_a_missing_identity_file_is_named(server: LocalSshd) -> None:
    shells = shells_of(server)
    shells.learn_host_key(server.address())
    with pytest.raises(RobotError, match="identity file /no/such/key does not exist"):
        shells.connect(replace(server.address(), identity_file="/no/such/key"))


def test_a_name_that_does_not_resolve_is_offline(server: LocalSshd) -> None:
    with pytest.raises(RobotOffline, match="does not resolve"):
        shells_of(server).learn_host_key(replace(server.address(), host="robot.invalid"))


@pytest.mark.parametrize("speaks", [b"", b"HTTP/1.0 400 Bad Request\r\n\r\n"])
def test_something_else_than_ssh_is_offline_within_the_deadline(server: LocalSshd, speaks: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        held: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = other.accept()
                except OSError:
                    return
                connection.sendall(speaks)
                held.append(connection)

        threading.Thread(target=serve, daemon=True).start()
        started = time.monotonic()
        with pytest.raises(RobotOffline, match="did not speak SSH"):
            shells_of(server).learn_host_key(replace(server.address(), port=other.getsockname()[1]), timeout_s=1.0)
        assert time.monotonic() - started < 30.0
        for connection in held:
            connection.close()


def test_the_pinned_kind_of_key_is_asked_for(server: LocalSshd) -> None:
    """A server that gains a key of a kind that is preferred still shows the pinned one."""
    server.stop()
    server.new_host_key("rsa")
    server.start()
    shells = shells_of(server)
    assert shells.learn_host_key(server.address()).startswith("ssh-rsa SHA256:")
    server.stop()
    keygen(server.folder / "host_ed25519")
    server.start(f"HostKey {server.folder}/host_ed25519")
    shells.connect(server.address()).close()


def test_pins_are_found_by_name_and_kept_with_comments(server: LocalSshd) -> None:
    shells = shells_of(server)
    pins = server.folder / "known_hosts"
    pins.write_text("# ours\nother ssh-ed25519 AAAA\n")
    shells.learn_host_key(server.address())
    shells.learn_host_key(server.address("amr-002"))
    lines = pins.read_text().splitlines()
    assert lines[:2] == ["# ours", "other ssh-ed25519 AAAA"]
    assert [line.split()[0] for line in lines[2:]] == [f"{n},[127.0.0.1]:{server.port}" for n in ("amr-001", "amr-002")]
    shells.connect(server.address(host="127.0.0.2")).close()  # Another address, the same robot.


def test_a_damaged_pin_is_named_by_line(server: LocalSshd) -> None:
    (server.folder / "known_hosts").write_text("\namr-001 ssh-ed25519 not-base64!\n")
    with pytest.raises(OutsideError, match=r"known_hosts:2: not a host key"):
        shells_of(server).connect(server.address())


def test_the_users_configuration_leads_through_a_jump_host(server: LocalSshd, monkeypatch: pytest.MonkeyPatch) -> None:
    home = server.folder / "home"
    (home / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    config = f"""
Host robot-by-name
  HostName 127.0.0.3
  ProxyJump bastion
Host bastion
  HostName 127.0.0.1
  Port {server.port}
  User {server.user}
Host *
  IdentityFile {server.identity}
  IdentitiesOnly yes
"""
    shells = shells_of(server, config)
    robot = replace(server.address(host="robot-by-name"), identity_file=None)
    with pytest.raises(RobotError, match="jump host bastion is not trusted") as caught:
        shells.learn_host_key(robot)
    assert caught.value.hint == "log in there once: ssh bastion"
    key = " ".join((server.folder / "host.pub").read_text().split()[:2])
    (home / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{server.port} {key}\n")
    shells.learn_host_key(robot)
    shell = shells.connect(robot)
    seen = shell.run(["sh", "-c", "echo $SSH_CONNECTION"]).stdout.split()
    assert seen[2] == "127.0.0.3"
    shell.close()


@pytest.mark.parametrize("config", ["nonsense\n", "Match nonsense\n", "Host *\n  Port \xff\n"])
def test_a_wrong_configuration_is_told(server: LocalSshd, config: str) -> None:
    shells = shells_of(server)
    (server.folder / "ssh_config").write_bytes(config.encode("latin-1"))
    with pytest.raises(OutsideError, match="the SSH configuration cannot be read"):
        shells.learn_host_key(server.address())


def test_many_robots_side_by_side(server: LocalSshd) -> None:
    shells = shells_of(server)
    robots = [server.address(f"robot-{n}", f"127.0.1.{n}") for n in range(1, 41)]

    def visit(robot: RobotAddress) -> str:
        shells.learn_host_key(robot)
        shell = shells.connect(robot)
        try:
            return shell.run(["sh", "-c", "echo $SSH_CONNECTION"]).stdout.split()[2]
        finally:
            shell.close()

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(visit, robots)) == [robot.host for robot in robots]
    pinned = (server.folder / "known_hosts").read_text().splitlines()
    assert sum("ssh-ed25519" in line for line in pinned) == 40


def test_a_server_that_drops_connections_under_load_is_tried_again(server: LocalSshd) -> None:
    server.stop()
    server.start("MaxStartups 6:30:60")
    shells = shells_of(server)
    shells.learn_host_key(server.address())

    def visit(_: int) -> int:
        shell = shells.connect(server.address())
        try:
            return shell.run(["echo"]).exit_code
        finally:
            shell.close()

    with ThreadPoolExecutor(12) as pool:
        assert set(pool.map(visit, range(24))) == {0}
