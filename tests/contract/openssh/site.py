"""One OpenSSH server with a port for each kind of machine, a configuration for each test, and `ssh` beside fleet."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fleet.adapters.ssh.ssh_shell import SshShells
from fleet.errors import FleetError
from fleet.ports import RobotAddress
from tests.contract.hosts.local_sshd import SSHD, keygen
from tests.harness import share

#: Kind of machine → lines of its sshd_config. A forced command stands for the login shell: sshd hands it the same word.
KINDS = {
    "plain": "",
    "no_forwarding": "AllowTcpForwarding no",
    "no_login": "AuthorizedKeysFile none",
    "two_tries": "MaxAuthTries 2",
    "two_factors": "AuthenticationMethods publickey,password",
    "fish": 'ForceCommand exec fish -c "$SSH_ORIGINAL_COMMAND"',
    "tcsh": 'ForceCommand exec tcsh -c "$SSH_ORIGINAL_COMMAND"',
    "dash": 'ForceCommand exec dash -c "$SSH_ORIGINAL_COMMAND"',
    "busybox": 'ForceCommand exec busybox sh -c "$SSH_ORIGINAL_COMMAND"',
    "bash": 'ForceCommand exec bash -c "$SSH_ORIGINAL_COMMAND"',
    "noisy": "ForceCommand trap 'echo bye; echo bye >&2' EXIT; echo \"Welcome to robot=1\"; echo 'tput: no TERM' >&2; "
    'printf half; eval "$SSH_ORIGINAL_COMMAND"',
    "nologin": "ForceCommand echo 'This account is currently not available.'; exit 1",
}
CHILD = "import sys, json; print(json.dumps(sys.argv[1:]))"


@dataclass
class Spoke:
    """What `ssh` itself did."""

    code: int
    out: str
    err: str


@dataclass
class Site:
    """The server, and the files of one operator."""

    folder: Path
    ports: dict[str, int] = field(default_factory=dict)
    user: str = field(default_factory=getpass.getuser)

    @property
    def identity(self) -> Path:
        """A key that every machine takes but `no_login`."""
        return self.folder / "id"

    @property
    def host_key(self) -> str:
        """``ssh-ed25519 AAAA…`` of the server."""
        return " ".join((self.folder / "host.pub").read_text().split()[:2])

    def make(self) -> None:
        """Make keys and the server's configuration."""
        keygen(self.folder / "host")
        keygen(self.folder / "authority")
        keygen(self.identity)
        shutil.copy(self.identity.with_suffix(".pub"), self.folder / "authorized_keys")
        self.certify("127.0.0.3,127.0.0.8,robots.corp", host=True)
        self.ports = dict(zip(KINDS, [share.free_port() for _ in KINDS], strict=True))
        lines = [
            *(f"Port {port}" for port in self.ports.values()),
            "ListenAddress 0.0.0.0",
            f"HostKey {self.folder}/host",
            f"HostCertificate {self.folder}/host-cert.pub",
            f"AuthorizedKeysFile {self.folder}/authorized_keys",
            f"TrustedUserCAKeys {self.folder}/authority.pub",
            "PidFile none",
            "StrictModes no",
            "UsePAM no",
            "PasswordAuthentication yes",
            "PermitRootLogin yes",
            "SetEnv SHLVL=9",
            "MaxStartups 200:30:400",
        ]
        for kind, rule in KINDS.items():
            lines += [f"Match LocalPort {self.ports[kind]}", f"  {rule}"] if rule else []
        (self.folder / "sshd_config").write_text("\n".join(lines) + "\n")

    def certify(self, principals: str, *, host: bool = False, key: str = "host", validity: str = "-1d:+1d") -> Path:
        """Sign a key by the authority; return the certificate."""
        kind = ["-h"] if host else []
        command = ["ssh-keygen", "-q", "-s", str(self.folder / "authority"), *kind, "-I", "x", "-n", principals]
        subprocess.run([*command, "-V", validity, f"{self.folder / key}.pub"], check=True, timeout=60)
        return self.folder / f"{key}-cert.pub"

    def address(self, host: str = "127.0.0.1", kind: str = "plain", **changes: object) -> RobotAddress:
        """Return a robot of the manifest."""
        given: dict[str, object] = {"identity_file": None, "port": self.ports[kind], "user": self.user, **changes}
        return RobotAddress("amr-001", host, **given)  # type: ignore[arg-type]

    def known(self, *kinds: str, key: str | None = None) -> str:
        """Return known_hosts lines of the server's machines."""
        lines = [f"[127.0.0.*]:{self.ports[kind]} {key or self.host_key}" for kind in kinds or KINDS]
        return "\n".join(lines) + "\n"


@dataclass
class Operator:
    """One user of fleet and of `ssh`, with files of their own."""

    site: Site
    home: Path
    notes: list[tuple[str, str]] = field(default_factory=list)

    def writes(self, config: str, known_hosts: str | None = None) -> None:
        """Set `~/.ssh/config` (what it says of keys comes last) and `~/.ssh/known_hosts`."""
        text = config.format(**{f"port_{kind}": port for kind, port in self.site.ports.items()}, user=self.site.user)
        (self.home / "config").write_text(f"{text}\nHost *\n  UserKnownHostsFile {self.home}/known_hosts\n")
        (self.home / "known_hosts").write_text(self.site.known() if known_hosts is None else known_hosts)

    @property
    def keys(self) -> str:
        """Lines that make the one right key the only one."""
        return f"Host *\n  IdentityFile {self.site.identity}\n  IdentitiesOnly yes\n"

    @property
    def shells(self) -> SshShells:
        """Fleet's connections with this configuration; pins lie in the folder too."""
        return SshShells(
            self.home / "pins",
            ssh_config=self.home / "config",
            on_note=lambda robot, words: self.notes.append((robot, words)),
        )

    def ssh(self, robot: RobotAddress, *command: str) -> Spoke:
        """Have `ssh` do the same, without anybody to ask."""
        words = ["ssh", "-F", str(self.home / "config"), "-o", "BatchMode=yes", "-o", "ConnectTimeout=10"]
        words += ["-p", str(robot.port)] if robot.port_given else []
        words += ["-l", robot.user] if robot.user_given else []
        words += ["-i", robot.identity_file] if robot.identity_file else []
        done = subprocess.run(
            [*words, robot.host, *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Spoke(done.returncode, done.stdout, done.stderr)

    def fleet(self, robot: RobotAddress, *command: str) -> str:
        """Bootstrap's first step and one command; return what it printed. Raises FleetError."""
        shells = self.shells
        shells.learn_host_key(robot)
        shell = shells.connect(robot)
        try:
            return shell.run(list(command)).stdout
        finally:
            shell.close()

    def refused(self, robot: RobotAddress) -> FleetError:
        """Return the error with which fleet does not get there; `ssh` must not either."""
        assert self.ssh(robot, "true").code != 0
        try:
            self.fleet(robot, "true")
        except FleetError as error:
            return error
        raise AssertionError("fleet logged in where ssh does not")


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Site]:
    """Run a server on all its ports."""
    site = Site(folder)
    site.make()
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    assert SSHD is not None
    with (folder / "sshd.log").open("ab") as log:
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log)
        try:
            _wait(site, process)
            yield site
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=20)


@contextlib.contextmanager
def agent(folder: Path, *keys: Path) -> Iterator[Path]:
    """Run an ssh-agent that holds these keys; yield its socket."""
    path = folder / "agent.sock"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while not path.exists():
            assert time.monotonic() < deadline, "ssh-agent did not start"
            time.sleep(0.02)
        environment = {**os.environ, "SSH_AUTH_SOCK": str(path), "SSH_ASKPASS": str(_askpass(folder)), "DISPLAY": ":0"}
        for key in keys:
            command = ["ssh-add", "-q", str(key)]
            subprocess.run(command, env={**environment, "SSH_ASKPASS_REQUIRE": "force"}, check=True, timeout=30)
        yield path
    finally:
        process.terminate()
        process.wait(timeout=20)


PASSPHRASE = "open sesame"


def _askpass(folder: Path) -> Path:
    path = folder / "askpass"
    path.write_text(f"#!/bin/sh\necho '{PASSPHRASE}'\n")
    path.chmod(0o700)
    return path


def python() -> str:
    """Return this interpreter, for commands on the `robot`."""
    return sys.executable


def _wait(site: Site, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    for port in site.ports.values():
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as probe:
                if probe.recv(4) == b"SSH-":
                    break
            assert process.poll() is None, (site.folder / "sshd.log").read_text()
            assert time.monotonic() < deadline, "sshd did not start within 60 s"
            time.sleep(0.05)
