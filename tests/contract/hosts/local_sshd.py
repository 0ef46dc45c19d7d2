"""A real OpenSSH server on 127.0.0.1, for this user alone: its own keys, configuration and port."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from fleet.ports import RobotAddress
from tests.harness import share

SSHD = shutil.which("sshd") or ("/usr/sbin/sshd" if Path("/usr/sbin/sshd").exists() else None)


class LocalSshd:
    """Start, stop, change its key, cut its connections."""

    def __init__(self, folder: Path) -> None:
        assert SSHD is not None, "no sshd here: `make setup` installs openssh-server, without starting it"
        self.folder = folder
        self.user = getpass.getuser()
        self.identity = folder / "id"
        self.port = share.free_port()
        self._process: subprocess.Popen[bytes] | None = None
        keygen(self.identity)
        shutil.copy(self.identity.with_suffix(".pub"), folder / "authorized_keys")
        self.new_host_key()

    def new_host_key(self, kind: str = "ed25519") -> None:
        """Make another host key; takes effect at the next start."""
        for name in ("host", "host.pub"):
            (self.folder / name).unlink(missing_ok=True)
        keygen(self.folder / "host", kind)

    def start(self, *extra: str) -> None:
        """Start and wait until it answers."""
        lines = [
            "ListenAddress 0.0.0.0",
            f"Port {self.port}",
            f"HostKey {self.folder}/host",
            f"AuthorizedKeysFile {self.folder}/authorized_keys",
            "PidFile none",
            "StrictModes no",
            "UsePAM no",
            "PasswordAuthentication no",
            "PermitRootLogin yes",
            "SetEnv SHLVL=9",  # A nested bash does not run the user's .bashrc, which may take its time.
            *extra,
            "MaxStartups 200:30:400",
        ]
        (self.folder / "sshd_config").write_text("\n".join(lines) + "\n")
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        assert SSHD is not None
        log = (self.folder / "sshd.log").open("ab")
        self._process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")], stderr=log)
        deadline = time.monotonic() + 60
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe:
                    if probe.recv(4) == b"SSH-":
                        return
            except OSError:
                pass
            assert self._process.poll() is None, (self.folder / "sshd.log").read_text()
            assert time.monotonic() < deadline, "sshd did not start within 60 s"
            time.sleep(0.05)

    def stop(self) -> None:
        """End the server and every connection to it."""
        if self._process is not None:
            self.signal_connections(signal.SIGCONT)
            self.signal_connections(signal.SIGKILL)
            self._process.kill()
            self._process.wait(timeout=60)
            self._process = None

    def signal_connections(self, number: int) -> int:
        """Send a signal to the processes that serve connections; return how many there are."""
        assert self._process is not None
        victims = _descendants(self._process.pid)
        for pid in victims:
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):  # Gone by itself meanwhile.
                if b"sshd" in Path(f"/proc/{pid}/comm").read_bytes():
                    os.kill(pid, number)
        return len(victims)

    def address(self, name: str = "amr-001", host: str = "127.0.0.1") -> RobotAddress:
        return RobotAddress(name, host, self.port, self.user, str(self.identity))


def keygen(path: Path, kind: str = "ed25519") -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(path)], check=True, timeout=60)


def _descendants(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []  # It ended while we looked.
    return [each for child in map(int, children) for each in (child, *_descendants(child))]
