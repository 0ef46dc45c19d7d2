"""Standard streams that are closed, full, or without a reader: what cannot be printed ends in a sentence.

A reader that went away (`fleet … | head`) is no error, as everywhere: that stays a BrokenPipeError, and those who write
decide. A full disk behind `>`, or a closed stdout (`>&-`), is one: a script would take the missing result for none.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

from fleet.errors import OutsideError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

_CLOSED = OSError(errno.EBADF, "it is closed")


class StdoutFailed(OSError):
    """Standard output does not take what is written. Raised once; whatever is written after it is dropped."""


class OutputLost(OutsideError):
    """The command is done, and its result could not be written."""

    def __init__(self, why: OSError) -> None:
        reason = (why.strerror or str(why)).lower()
        super().__init__(
            f"the result could not be written to standard output: {reason}",
            hint="what the command did is not undone; run it again with an output that can be written",
        )


class _Raw(io.FileIO):
    """A file descriptor. ``loud``: the first failure is raised as StdoutFailed; otherwise every failure is dropped."""

    def __init__(self, descriptor: int, *, is_closed: bool, loud: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._broken: OSError | None = _CLOSED if is_closed else None
        self._loud = loud
        self.reader_gone = False

    def write(self, data: Buffer, /) -> int:
        if self._broken is None:
            try:
                return super().write(data)
            except OSError as error:
                self._broken = error
        if self._loud:
            self._loud = False
            if isinstance(self._broken, BrokenPipeError):
                self.reader_gone = True
                raise self._broken
            raise StdoutFailed(self._broken.errno, self._broken.strerror) from self._broken
        return memoryview(data).nbytes


def guard_streams() -> None:
    """Replace the process's standard streams by ones that behave as this module says. Called once, at the start."""
    closed = [stream is None for stream in (sys.stdin, sys.stdout, sys.stderr)]
    for descriptor in (0, 1, 2):
        _keep_taken(descriptor)
    if closed[0]:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  (open as long as the process is)
    sys.stdout = _text(1, sys.stdout, is_closed=closed[1], loud=True)
    sys.stderr = _text(2, sys.stderr, is_closed=closed[2], loud=False)


def reader_gone() -> bool:
    """Say whether whoever read standard output has enough."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return isinstance(raw, _Raw) and raw.reader_gone


def _keep_taken(descriptor: int) -> None:
    """Put /dev/null where a standard descriptor is closed: the next file or socket would become our stdout."""
    try:
        os.fstat(descriptor)
    except OSError:
        nowhere = os.open(os.devnull, os.O_RDWR)
        if nowhere != descriptor:
            os.dup2(nowhere, descriptor)
            os.close(nowhere)


def _text(descriptor: int, before: TextIO | None, *, is_closed: bool, loud: bool) -> TextIO:
    raw = _Raw(descriptor, is_closed=is_closed, loud=loud)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=getattr(before, "encoding", None) or "utf-8",
        errors="replace",  # A locale without → and × is no reason to fail.
        line_buffering=not loud or raw.isatty(),
    )
