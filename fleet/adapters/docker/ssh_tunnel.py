"""A builder's Engine over ``ssh://``: a Unix socket of this process, and one ``ssh`` for each connection to it.

docker-py's own connection over ssh has no deadlines (it reads from a pipe) and lets ssh's words go to the terminal. On
a socket all of its deadlines hold, and what ssh said is there when a connection ends.
"""

from __future__ import annotations

import atexit
import contextlib
import select
import shlex
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from fleet.errors import DockerError

KEEPALIVE = ("ServerAliveInterval=5", "ServerAliveCountMax=4")
"""ssh asks every 5 s whether the other side is there, and ends after four questions without an answer."""
_OPTIONS = ("ConnectTimeout=20", "ControlMaster=no", "ClearAllForwardings=yes", "ForwardX11=no", *KEEPALIVE)
"""A connection that the user shares (ControlPath) is used; ours, which end with a request, are never shared."""
_UNINTERRUPTED = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")
"""Ctrl-C is for `fleet`, which still needs its connections to end what runs on the builder."""
_WORDS = 2000
_BACKLOG = 16


class SshTunnel:
    """Stands between the docker SDK and ``ssh … docker system dial-stdio``, as the docker command does it itself.

    ``ssh`` is the command; its configuration, agent and known hosts are the user's. Raises DockerError for an endpoint
    that names no host.
    """

    def __init__(self, endpoint: str, ssh: Sequence[str] = ("ssh",)) -> None:
        self._command = [*ssh, *_arguments(endpoint)]
        self._words = ""
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._closed = False
        self._folder = Path(tempfile.mkdtemp(prefix="jetfleet-docker-"))  # 0700: nobody else reaches the Engine by it
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self._folder / "docker.sock"))
        self._listener.listen(_BACKLOG)
        threading.Thread(target=self._accept, daemon=True, name="docker-over-ssh").start()
        atexit.register(self.close)

    @property
    def url(self) -> str:
        """Where the SDK connects to."""
        return f"unix://{self._folder / 'docker.sock'}"

    def said(self) -> str:
        """Return what the last ssh that failed said, on one line, and forget it; empty when none did since."""
        with self._lock:
            words, self._words = self._words, ""
            return words

    def close(self) -> None:
        """End every ssh, and take the socket away."""
        with self._lock:
            self._closed = True
            running = list(self._running)
        with contextlib.suppress(OSError):  # a closed listener cannot be shut down: it was closed before
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for process in running:
            process.terminate()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True, name="docker-over-ssh").start()

    def _serve(self, connection: socket.socket) -> None:
        """Run one ssh on a connection. Whichever side ends first ends the other."""
        with connection:
            try:
                both, command = connection.fileno(), [*_UNINTERRUPTED, *self._command]
                process = subprocess.Popen(command, stdin=both, stdout=both, stderr=subprocess.PIPE)
            except OSError as error:
                self._keep_words(f"{self._command[0]} cannot be started: {error}")
                return
            with self._lock:
                self._running.add(process)
                closed = self._closed
            if closed:
                process.terminate()
            watcher = threading.Thread(target=_end_with, args=(connection, process), daemon=True)
            watcher.start()
            _, said = process.communicate()
            with self._lock:
                self._running.discard(process)
            if process.returncode > 0:  # below 0: ended by us
                self._keep_words(said.decode("utf-8", "replace"))
            # Only now does the SDK see the end: by then the words are there.
            with contextlib.suppress(OSError):  # the SDK has closed its side already
                connection.shutdown(socket.SHUT_RDWR)
            watcher.join()

    def _keep_words(self, text: str) -> None:
        lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("** ")]
        with self._lock:
            self._words = "; ".join(lines)[-_WORDS:]


def _end_with(connection: socket.socket, process: subprocess.Popen[bytes]) -> None:
    """End ssh when the SDK closes its side: one that follows a silent log would not notice."""
    poll = select.poll()
    poll.register(connection.fileno(), 0)  # the other side's close alone
    poll.poll()
    process.terminate()


def _arguments(endpoint: str) -> list[str]:
    """Return ssh's arguments. Raises DockerError."""
    try:
        parts = urlsplit(endpoint)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.password is not None:
        raise DockerError(
            f"builder.endpoint {endpoint} names no host that ssh could reach",
            hint="write it as ssh://USER@HOST or ssh://USER@HOST:PORT; a password is for ssh-copy-id, not for here",
        )
    # A host's name may be an alias of the user's configuration, where capitals count: urlsplit lowers them.
    written = parts.netloc.rpartition("@")[2]
    at = written.lower().find(host)
    host = written[at : at + len(host)]
    remote = ["docker", *(["--host", f"unix://{parts.path}"] if parts.path.strip("/") else []), "system", "dial-stdio"]
    options = [f"-o{option}" for option in _OPTIONS]
    user = ["-l", parts.username] if parts.username else []
    where = ["-p", str(port)] if port else []
    return ["-T", *options, *user, *where, "--", host, shlex.join(remote)]
