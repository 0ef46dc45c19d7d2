"""One command on one SSH channel, with a deadline that fires even when the other side says nothing at all."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import paramiko
from paramiko.common import cMSG_CHANNEL_REQUEST

from fleet.adapters.ssh.fence import LOGIN_WORD, Cutter, Fence
from fleet.adapters.ssh.ssh_errors import interrupted, link_lost
from fleet.errors import RobotError, RobotSilent

OUTPUT_LIMIT = 4 * 1024 * 1024
"""Bytes of stdout, and of stderr, that a command may print before it is stopped."""
_CHUNK = 32768
_SIGNALS = {each.value for each in signal.Signals}
_LOOK_AGAIN_S = 0.5
"""Longest time without looking at deadline and link."""


class _Arrivals:
    """Set by paramiko's reader thread when output came or ended. Stands in for ``Channel.fileno()``: that is a pipe,
    and closing the channel while the reader writes to it ends the whole connection (EPIPE in the reader thread).
    """

    def __init__(self, channel: paramiko.Channel) -> None:
        self._event = threading.Event()
        channel.in_buffer.set_event(self)
        channel.in_stderr_buffer.set_event(self)

    def set(self) -> None:
        """There is something to read, on either stream."""
        self._event.set()

    def clear(self) -> None:
        """One stream was read empty, which says nothing about the other: only `wait` forgets."""

    def wait(self, timeout_s: float) -> None:
        """Wait for output; what comes from now on is seen by the next call."""
        self._event.wait(timeout_s)
        self._event.clear()


Take = Callable[[bytes, bool], None]
"""Called with bytes that arrived and whether they are of stderr."""


@dataclass
class RemoteCommand:
    """A command to run on an open transport. ``run`` is called once."""

    transport: paramiko.Transport
    robot: str
    command: Sequence[str]
    shown: str
    """How a person knows the command."""
    stdin: bytes | None = None
    """None: the command gets no input, and ends when the connection does."""
    timeout_s: float | None = 30.0
    """None: as long as it takes (``logs --follow``); a lost link still ends it."""
    interrupted: threading.Event = field(default_factory=threading.Event)
    """Set from another thread: end now."""
    _channel: paramiko.Channel = field(init=False)
    _out: Cutter = field(init=False)
    _err: Cutter = field(init=False)

    @property
    def noise(self) -> str:
        """What the login shell printed around the answer."""
        both = self._out.noise + self._err.noise
        return both.decode("utf-8", "replace").strip()

    def run(self, take: Take) -> int:
        """Run to the end and return the exit code. Raises RobotSilent (deadline, killed), RobotOffline (link lost).

        Whatever is raised, KeyboardInterrupt included, the remote process is told to end and the channel is closed.
        """
        deadline = None if self.timeout_s is None else time.monotonic() + self.timeout_s
        fence = Fence()
        self._out, self._err = Cutter(fence), Cutter(fence)
        self._open(deadline)
        try:
            self._pump(take, deadline, fence.script(self.command, takes_input=self.stdin is not None))
            return self._exit_code(deadline)
        except (paramiko.SSHException, EOFError) as error:
            raise link_lost(error, self.robot, self._short()) from error
        except BaseException:
            self._terminate()
            raise
        finally:
            self._channel.close()

    def _open(self, deadline: float | None) -> None:
        try:
            self._channel = self.transport.open_session(timeout=10.0 if deadline is None else self._left(deadline))
            self._channel.settimeout(_LOOK_AGAIN_S)
            self._channel.exec_command(LOGIN_WORD)
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise link_lost(error, self.robot, self._short()) from error

    def _pump(self, take: Take, deadline: float | None, script: bytes) -> None:
        """Move bytes both ways until the answer is whole, or the other side has closed its output."""
        arrivals = _Arrivals(self._channel)
        pending = memoryview(script)
        # The input follows once `sh` has begun: some read ahead, and would swallow it together with the program.
        later = self.stdin
        while not self._is_over():
            if pending:
                pending = self._feed(pending)
            elif later is not None and self._out.begun:
                pending, later = memoryview(later), None
                if not pending:
                    self._end_input()
                pending = self._feed(pending)
            if not pending and later is None and self.stdin and not self._channel.eof_sent:
                self._end_input()
            finished = self._channel.eof_received or self._channel.closed
            if not self._drain(take) and finished:
                break
            wait = min(_LOOK_AGAIN_S, self._left(deadline))
            # With input left to send there is nothing to wait on but the window, which nobody reports.
            arrivals.wait(0.01 if pending else wait)
        for cutter, is_error in ((self._out, False), (self._err, True)):
            rest = cutter.rest()
            if rest:
                take(rest, is_error)

    def _is_over(self) -> bool:
        """Whether the answer is whole. What a command left running may hold the streams open for ever."""
        return self._out.exit_code is not None and self._err.ended

    def _feed(self, pending: memoryview) -> memoryview:
        while pending and self._channel.send_ready():
            try:
                sent = self._channel.send(bytes(pending[:_CHUNK]))
            except TimeoutError:
                break  # The window closed in this moment.
            except OSError:
                return memoryview(b"")  # The command ended without reading all: its exit code tells the rest.
            pending = pending[sent:]
        return pending

    def _end_input(self) -> None:
        try:
            self._channel.shutdown_write()
        except (OSError, EOFError, paramiko.SSHException) as error:
            if not self.transport.is_active():
                raise link_lost(error, self.robot, self._short()) from error

    def _drain(self, take: Take) -> bool:
        moved = False
        for ready, receive, cutter, is_error in (
            (self._channel.recv_ready, self._channel.recv, self._out, False),
            (self._channel.recv_stderr_ready, self._channel.recv_stderr, self._err, True),
        ):
            while ready():
                answer = cutter.feed(receive(_CHUNK))
                moved = True
                if answer:
                    take(answer, is_error)
        return moved

    def _exit_code(self, deadline: float | None) -> int:
        if self._out.exit_code is not None:
            return self._ended(self._out.exit_code)
        while not self._channel.status_event.wait(min(_LOOK_AGAIN_S, self._left(deadline))):
            pass
        code: int = self._channel.exit_status
        if code >= 0 and not self._out.begun:
            raise self._not_run(code)
        if code >= 0:
            return code
        # No status: either the link is gone, or a signal ended the command. The reader thread needs a moment to say.
        give_up = time.monotonic() + 2.0
        while time.monotonic() < give_up:
            if not self.transport.is_active():
                raise link_lost(self.transport.get_exception(), self.robot, self._short())
            self._probe()
            time.sleep(0.05)
        raise self._killed("a signal")

    def _ended(self, code: int) -> int:
        """Return the exit code, unless it is how a shell says that a signal ended the command."""
        if code - 128 in _SIGNALS:
            raise self._killed(f"a signal ({signal.Signals(code - 128).name})")
        return code

    def _killed(self, what: str) -> RobotSilent:
        return RobotSilent(
            self.robot,
            f"`{self._short()}` was killed by {what}",
            hint="see the robot's kernel log (memory?): fleet exec -- dmesg",
        )

    def _not_run(self, code: int) -> RobotError:
        """Return the error for a login that does not lead to a shell: nologin, a forced command, a full disk."""
        words = " ".join(f"{self._out.unfenced()} {self._err.unfenced()}".split())[:300]
        user = self.transport.get_username() or "this user"
        return RobotError(
            self.robot,
            f"the login shell of {user} ran no command (exit code {code}): {words or 'no output'}",
            hint=f"give it a shell (sudo chsh -s /bin/bash {user}), or set another user in the manifest",
        )

    def _probe(self) -> None:
        """Write to the link, so that one that is gone is noticed."""
        try:
            self.transport.send_ignore(8)
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise link_lost(error, self.robot, self._short()) from error

    def _left(self, deadline: float | None) -> float:
        if self.interrupted.is_set():
            raise interrupted(self.robot)
        if deadline is None:
            return 3600.0
        left = deadline - time.monotonic()
        if left > 0:
            return left
        raise RobotSilent(
            self.robot,
            f"`{self._short()}` did not end within {self.timeout_s:g} s and was stopped",
            hint="look at the robot's load: fleet exec -- uptime",
        )

    def _terminate(self) -> None:
        """Ask sshd to signal the process (RFC 4254 §6.9): without a terminal, closing the channel does not end it.

        OpenSSH does so for every user but root. There, and where a link is lost, the process ends when it next
        writes, or by the limit that it was started under.
        """
        if not self.transport.is_active() or self._channel.closed:
            return
        message = paramiko.Message()
        message.add_byte(cMSG_CHANNEL_REQUEST)
        message.add_int(self._channel.remote_chanid)
        message.add_string("signal")
        message.add_boolean(False)
        message.add_string("TERM")
        try:
            self.transport._send_user_message(message)
        except (OSError, EOFError, paramiko.SSHException):
            return  # The link broke in this moment: there is nothing left to tell.

    def _short(self) -> str:
        return self.shown if len(self.shown) <= 80 else self.shown[:77] + "…"
