"""How the process ends: signals become KeyboardInterrupt, and nothing that hangs elsewhere holds it back."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import NoReturn, TextIO

from fleet.cli.ui.streams import StdoutFailed

GRACE_S = 3.0
"""For threads that still speak to somebody: to tell a robot's command to end, and close. They hold nothing that
matters; what they wait for may be silent for its whole deadline."""


ENDING = (signal.SIGTERM, signal.SIGHUP)
"""What CI systems send, and what comes when a terminal is closed."""


def take_signals() -> None:
    """Treat SIGTERM and SIGHUP as Ctrl-C: everything is left as tidy, and the same sentence is said.

    Under `nohup` SIGHUP is ignored, and stays so.
    """
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def leave(exit_code: int, on_lost_output: Callable[[OSError], int]) -> NoReturn:
    """End the process, at the latest GRACE_S from now, with what was printed written out.

    ``on_lost_output`` says so when that fails, and returns the exit code of a command that had succeeded.
    """
    try:
        stuck = _stuck_threads()
    except KeyboardInterrupt:
        stuck = True  # Somebody is in a hurry.
    try:
        _write_out(sys.stdout)
    except StdoutFailed as failure:
        exit_code = exit_code or on_lost_output(failure)
    _write_out(sys.stderr)
    for late in (signal.SIGINT, *ENDING):
        signal.signal(late, signal.SIG_IGN)  # The result is out: it stands.
    if stuck:
        os._exit(exit_code)
    sys.exit(exit_code)


def _stuck_threads() -> bool:
    """Say whether threads are left that Python would wait for without a deadline."""
    ends = time.monotonic() + GRACE_S
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(max(0.0, ends - time.monotonic()))
            if thread.is_alive():
                return True
    return False


def _write_out(stream: TextIO) -> None:
    try:
        stream.flush()
    except StdoutFailed:
        raise
    except (OSError, ValueError):  # No reader, or no terminal any more.
        to_nowhere(stream)


def to_nowhere(stream: TextIO) -> None:
    """Let a stream whose reader is gone (`fleet … | head`) swallow what else is written to it."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
