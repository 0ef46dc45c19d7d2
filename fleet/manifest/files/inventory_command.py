"""Run the program that lists robots: without a shell, with a deadline, with a bound on what it prints."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import tempfile
from pathlib import Path

MOST_BYTES = 8 << 20
_END_S = 2.0


class InventoryFailed(Exception):
    """The program gave no list. ``message`` follows its name in a sentence."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def run_inventory(command: str, folder: Path, timeout_s: float) -> bytes:
    """Return what ``command`` prints; it runs in ``folder``. Raises InventoryFailed.

    Past the deadline it is ended, with whatever it started.
    """
    by_hand = f"run it by hand in {folder}"
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                shlex.split(command),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
                start_new_session=True,
            )
        except OSError as error:
            raise InventoryFailed(
                f"cannot be run: {error.strerror or error}", "correct inventory/command, or install the program"
            ) from error
        try:
            code = process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            raise InventoryFailed(
                f"gave no answer within {timeout_s:g} s", f"{by_hand}; or raise inventory/timeout"
            ) from error
        finally:
            _end(process)
        out.seek(0)
        content = out.read(MOST_BYTES + 1)
        errors.seek(0)
        words = " ".join(errors.read(4096).decode("utf-8", "replace").split())[:300]
    if code != 0:
        raise InventoryFailed(f"ended with exit code {code}: {words or 'it says nothing'}", by_hand)
    if len(content) > MOST_BYTES:
        raise InventoryFailed(f"printed more than {MOST_BYTES >> 20} MB", "have it print this fleet's robots only")
    return content


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=_END_S)
