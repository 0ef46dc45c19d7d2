"""A `ProxyCommand`: a program whose input and output are the connection."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile

_END_S = 2.0


class ProxyCommandFailed(Exception):
    """The program ended before the robot spoke. ``words``: what it wrote on stderr."""

    def __init__(self, command: str, code: int | None, words: str) -> None:
        super().__init__(words or (f"exit code {code}" if code is not None else "no output"))
        self.command = command
        self.code = code
        self.words = words


class ProxyProcess:
    """The running program. ``sock`` is our end: a real socket, so that waiting for it costs nothing."""

    def __init__(self, command: str) -> None:
        """Start it as OpenSSH does, by the user's shell. Raises ProxyCommandFailed."""
        self.command = command
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed in `close`)
        self.sock, theirs = socket.socketpair()
        shell = os.environ.get("SHELL") or "/bin/sh"
        try:
            self._process = subprocess.Popen(
                [shell, "-c", f"exec {command}"],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=self._errors,
                start_new_session=True,  # Nobody can answer its questions, and Ctrl-C is ours to pass on.
            )
        except OSError as error:
            self.sock.close()
            raise ProxyCommandFailed(command, None, f"{shell}: {error.strerror}") from error
        finally:
            theirs.close()

    def failure(self) -> ProxyCommandFailed | None:
        """Return how it failed, when it has ended, or has said why it cannot go on."""
        code: int | None = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._process.wait(timeout=_END_S)
        words = self._words()
        return ProxyCommandFailed(self.command, code, words) if code or words else None

    def _words(self) -> str:
        try:
            self._errors.seek(0)
            lines = self._errors.read(65536).decode("utf-8", "replace").splitlines()
        except ValueError:
            return ""  # Closed meanwhile.
        return "; ".join(" ".join(line.split()) for line in lines[-3:] if line.strip())[:500]

    def close(self) -> None:
        """End the program and whatever it started."""
        self.sock.close()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(timeout=_END_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(timeout=_END_S)
        self._errors.close()
