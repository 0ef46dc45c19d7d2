"""A network of a test's own, with a loopback interface and nothing else, for this thread and what it starts. Not a test
module."""

from __future__ import annotations

import ctypes
import os
import subprocess

CLONE_NEWNET = 0x40000000


class NetworkRoom:
    """Entered by its making, left by ``leave``. Raises OSError where this user may not make one (root may)."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        if self._libc.unshare(CLONE_NEWNET):
            os.close(self._outside)
            raise OSError(ctypes.get_errno(), "unshare")
        self.ip("link", "set", "lo", "up")

    def add_address(self, address: str) -> None:
        """Let an interface appear, as Docker's bridge or Wi-Fi does."""
        self.ip("link", "add", "late0", "type", "veth", "peer", "name", "late1")
        self.ip("address", "add", address, "dev", "late0")
        for name in ("late0", "late1"):
            self.ip("link", "set", name, "up")

    def ip(self, *arguments: str) -> None:
        """Run ip(8) in here."""
        subprocess.run(["ip", *arguments], check=True, capture_output=True)

    def leave(self) -> None:
        """Go back to the network of before; this one goes with its last process."""
        if self._libc.setns(self._outside, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        os.close(self._outside)
