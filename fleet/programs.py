"""Programs of the operator's own that a manifest names: run without a shell, with a deadline and bounded output."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

MOST_BYTES = 8 << 20
_END_S = 2.0


class ProgramFailed(Exception):
    """The program did not do what it is for. ``message`` follows its name in a sentence."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def run_program(
    command: str,
    folder: Path,
    timeout_s: float,
    *,
    stdin: bytes = b"",
    environment: Mapping[str, str] | None = None,
) -> bytes:
    """Return what ``command`` prints; it runs in ``folder``. Raises ProgramFailed.

    ``environment`` is added to ours. When it ends, and past the deadline, whatever it started is ended too.
    """
    by_hand = f"run it by hand in {folder}"
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        given.write(stdin)
        given.seek(0)
        try:
            process = subprocess.Popen(
                shlex.split(command),
                cwd=folder,
                stdin=given,
                stdout=out,
                stderr=errors,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        except OSError as error:
            raise ProgramFailed(
                f"cannot be run: {error.strerror or error}", "correct the command, or install the program"
            ) from error
        try:
            code = process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            raise ProgramFailed(f"gave no answer within {timeout_s:g} s", f"{by_hand}; or raise its timeout") from error
        finally:
            _end(process)
        out.seek(0)
        content = out.read(MOST_BYTES + 1)
        errors.seek(0)
        words = " ".join(errors.read(4096).decode("utf-8", "replace").split())[:300]
    if code != 0:
        raise ProgramFailed(f"ended with exit code {code}: {words or 'no output'}", by_hand)
    if len(content) > MOST_BYTES:
        raise ProgramFailed(f"printed more than {MOST_BYTES >> 20} MB", "have it print less")
    return content


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=_END_S)
