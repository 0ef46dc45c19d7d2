"""What a test process has of the machine for itself: a number that no other one has, and what follows from it.

Workers of one run, and runs beside one another, meet wherever something has one name on the machine: ROS domains,
ports that are written down before they are bound, names of containers. A process takes one of :data:`NUMBERS` by a lock
that ends with it, whichever way it ends.
"""

from __future__ import annotations

import fcntl
import functools
import itertools
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NUMBERS = range(1, 81)
"""As many processes may run tests at once. Also their ROS domains: those up to 101 keep clear of the ports that Linux
gives to outgoing connections (https://docs.ros.org/en/rolling/Concepts/Intermediate/About-Domain-ID.html), and 87 is
what ``benchmarks.soak`` takes by itself."""
PORTS_EACH = 150
FIRST_PORT = 20000
"""TCP ports from here on, up to 31999: below those of outgoing connections, so that a port once found free stays so."""
FOLDER = Path(tempfile.gettempdir()) / f"jetfleet-tests-{os.getuid()}"
WAIT_S = 540.0
POLL_S = 0.05
_held: list[int] = []
"""Descriptors whose locks last as long as this process. Those that it starts do not inherit them."""


@functools.cache
def number() -> int:
    """Return this process's number, the same for as long as it runs. Raises RuntimeError when all are taken."""
    # Begins somewhere else in each process: one that was just given up may still have children that end.
    start = os.getpid() % len(NUMBERS)
    for one in (*NUMBERS[start:], *NUMBERS[:start]):
        descriptor = _open(f"{one}.lock")
        if _taken(descriptor):
            _held.append(descriptor)
            return one
        os.close(descriptor)
    raise RuntimeError(f"{len(NUMBERS)} processes run tests on this machine already: see {FOLDER}/*.lock")


def in_use(one: int) -> bool:
    """Whether a process that runs tests has that number, this one included."""
    if _held and one == number():
        return True
    descriptor = _open(f"{one}.lock")
    try:
        return not _taken(descriptor)
    finally:
        os.close(descriptor)


def ros_domain() -> int:
    """Return the ROS_DOMAIN_ID for everything that this process starts. Raises RuntimeError, as :func:`number`."""
    return number()


@functools.cache
def _ports() -> Iterator[int]:
    first = FIRST_PORT + PORTS_EACH * (number() - NUMBERS[0])
    return itertools.cycle(range(first, first + PORTS_EACH))


def free_port() -> int:
    """Return a TCP port that nothing listens on, and that nobody else takes before it is bound. A later call returns
    another one. Raises RuntimeError when all of this process's ports are in use."""
    for port in itertools.islice(_ports(), PORTS_EACH):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"all {PORTS_EACH} TCP ports of this process are in use")


@contextmanager
def turn(name: str) -> Iterator[None]:
    """Have what the machine has only one of, for as long as the block runs; others wait for their turn.

    Raises TimeoutError after :data:`WAIT_S` seconds.
    """
    descriptor = _open(f"{name}.turn")
    deadline = time.monotonic() + WAIT_S
    try:
        while not _taken(descriptor):
            if time.monotonic() > deadline:
                raise TimeoutError(f"another test run has had {FOLDER}/{name}.turn for {WAIT_S:g} s")
            time.sleep(POLL_S)
        yield
    finally:
        os.close(descriptor)


def _open(name: str) -> int:
    FOLDER.mkdir(mode=0o700, exist_ok=True)
    return os.open(FOLDER / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
