"""Network namespaces on one bridge, as hosts on one network, whose cables can be pulled. Only root can make them. Not
a test module."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from itertools import count

_NUMBERS = count(1)


class NetworkSite:
    """Namespaces by short names, ``10.213.0.N`` each, and one that holds the bridge. Raises OSError where this user may
    not make them, or ip(8) is missing."""

    def __init__(self, names: Iterable[str]) -> None:
        self._tag = f"jf{os.getpid()}x{next(_NUMBERS)}"
        self._names: list[str] = []
        self._made: list[str] = []
        try:
            self._namespace("hub")
            self._in("hub", "link", "add", "name", "lan0", "type", "bridge", "mcast_snooping", "0")
            self._in("hub", "link", "set", "lan0", "up")
            for name in names:
                self.add(name)
        except OSError:
            self.remove()
            raise

    def add(self, name: str) -> None:
        """Let another host join."""
        self._names.append(name)
        self._namespace(name)
        port = f"p{len(self._names)}"
        self._in(name, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", self._full("hub"))
        self._in("hub", "link", "set", port, "master", "lan0", "up")
        self._in(name, "address", "add", f"10.213.0.{len(self._names)}/24", "dev", "eth0")
        self._in(name, "link", "set", "eth0", "up")
        self._in(name, "route", "add", "default", "dev", "eth0")  # multicast takes it

    def inside(self, name: str) -> list[str]:
        """Return the words before a command that run it there."""
        return ["ip", "netns", "exec", self._full(name)]

    def cut(self, name: str) -> None:
        """Pull the cable at the bridge: the host's own interface stays as it is."""
        self._in("hub", "link", "set", self._port(name), "down")

    def repair(self, name: str) -> None:
        """Plug it in."""
        self._in("hub", "link", "set", self._port(name), "up")

    def remove(self) -> None:
        """Take all away. Processes inside must have ended."""
        for name in reversed(self._made):
            subprocess.run(["ip", "netns", "delete", self._full(name)], check=False, capture_output=True)
        self._made.clear()

    def _port(self, name: str) -> str:
        return f"p{self._names.index(name) + 1}"

    def _full(self, name: str) -> str:
        return f"{self._tag}-{name}"

    def _namespace(self, name: str) -> None:
        self._ip("netns", "add", self._full(name))
        self._made.append(name)
        self._in(name, "link", "set", "lo", "up")

    def _in(self, name: str, *arguments: str) -> None:
        self._ip("-netns", self._full(name), *arguments)

    def _ip(self, *arguments: str) -> None:
        done = subprocess.run(["ip", *arguments], check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
