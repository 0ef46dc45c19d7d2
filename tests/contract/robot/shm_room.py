"""A ``/dev/shm`` of a test's own, small and private, for real processes to fill. Not a test module."""

from __future__ import annotations

import errno
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[3]
SEGMENT = re.compile(r"fastdds_[0-9a-f]{16}")
WAIT_S = 60.0


class Room:
    """A mount namespace with a small ``/dev/shm`` of its own; ``enter`` is the command prefix that runs inside."""

    def __init__(self, megabytes: int) -> None:
        script = f"mount -t tmpfs -o size={megabytes}m tmpfs /dev/shm && echo open && exec cat"
        self.holder = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.holder.stdout is not None
        self.open = self.holder.stdout.readline() == "open\n"
        self.shm = Path("/proc", str(self.holder.pid), "root", "dev", "shm")  # the kernel's way into the namespace
        self.enter = ("nsenter", "-t", str(self.holder.pid), "-m", f"--wd={ROOT}", "--")

    def segments(self) -> set[str]:
        return {path.name for path in self.shm.iterdir() if SEGMENT.fullmatch(path.name)}

    def fill(self) -> Path:
        """Take all that is left; return the file that holds it."""
        filler = self.shm / "filler"
        with filler.open("wb", buffering=0) as stream:
            try:
                while True:
                    stream.write(b"x" * 4096)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
        return filler

    def close(self) -> None:
        self.holder.kill()
        self.holder.wait(WAIT_S)
        for stream in (self.holder.stdin, self.holder.stdout):
            assert stream is not None
            stream.close()
