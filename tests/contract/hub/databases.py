"""Databases for the hub's tests: files of SQLite, and a PostgreSQL server of this process, run by an ordinary user."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

DEADLINE_S = 120.0
ADMIN = "hubtest"


def postgres_bin() -> Path:
    """Return the folder of PostgreSQL's programs; where Debian has them they are not in PATH."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    assert folders, "PostgreSQL is missing: make setup"
    return folders[-1].parent


class PostgresServer:
    """A server without TCP, on a socket in a folder of its own. PostgreSQL refuses to be root."""

    def __init__(self) -> None:
        self._bin = postgres_bin()
        self.folder = Path(tempfile.mkdtemp(prefix="jetfleet-postgres-"))
        self._user = "nobody" if os.getuid() == 0 else None
        if self._user:
            os.chown(self.folder, pwd.getpwnam(self._user).pw_uid, -1)
        self._numbers = itertools.count(1)
        data = self.folder / "data"
        self._run(
            "initdb", "--no-sync", "--auth=trust", "--locale=C", "--encoding=UTF8", f"--username={ADMIN}", str(data)
        )
        # Nothing here has to survive a power cut of the machine.
        settings = ("fsync=off", "listen_addresses=", f"unix_socket_directories={self.folder}", "max_connections=60")
        words = [str(self._bin / "postgres"), "-D", str(data), *(w for each in settings for w in ("-c", each))]
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(words, stdout=log, stderr=log, user=self._user, cwd=self.folder)
        self._wait()

    def database(self) -> str:
        """Make an empty database; return its URL."""
        name = f"hub{next(self._numbers)}"
        self._run("createdb", "-h", str(self.folder), "-U", ADMIN, name)
        return f"postgresql://{ADMIN}@/{name}?host={self.folder}"

    def run(self, program: str, *words: str) -> str:
        """Run one of PostgreSQL's programs as this server's administrator."""
        return self._run(program, "-h", str(self.folder), "-U", ADMIN, *words)

    def stop(self) -> None:
        self._process.send_signal(signal.SIGQUIT)  # at once: nothing here is to be kept
        self._process.wait(DEADLINE_S)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _wait(self) -> None:
        until = time.monotonic() + DEADLINE_S
        words = [str(self._bin / "pg_isready"), "-q", "-h", str(self.folder)]
        while subprocess.run(words, check=False).returncode:
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < until, (self.folder / "log").read_text()
            time.sleep(0.05)

    def _run(self, program: str, *words: str) -> str:
        done = subprocess.run(
            [str(self._bin / program), *words],
            capture_output=True,
            text=True,
            user=self._user,
            cwd=self.folder,
            timeout=DEADLINE_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
