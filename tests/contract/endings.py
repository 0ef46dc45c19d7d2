"""The ways in which the executor that serves comes to its end. Not a test module.

Each returns when the old one is at its end, in seconds of the monotonic clock. None says the same twice: a hung one is
ended by the kernel while it is stopped, a container goes with its process and network namespaces, and a network that is
gone leaves a process that lives.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.contract.network_site import NetworkSite
from tests.contract.robot_process import STOP_S

#: What makes a container of a process: it is the first one of its own process namespace, which goes with it.
CONTAINED = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


@dataclass(frozen=True)
class Old:
    """The executor that is to end."""

    process: subprocess.Popen[str]
    network: NetworkSite | None = None
    """Where it has a network namespace of its own, and the name of that."""
    name: str = ""


def hung(old: Old) -> float:
    """Stopped, for longer than a participant's lease, then killed; a SIGCONT afterwards wakes nobody."""
    os.kill(old.process.pid, signal.SIGSTOP)
    time.sleep(2.0)
    return killed(old, continued=True)


def killed(old: Old, *, continued: bool = False) -> float:
    """SIGKILL."""
    ended = time.monotonic()
    os.kill(old.process.pid, signal.SIGKILL)
    if continued:
        os.kill(old.process.pid, signal.SIGCONT)  # a zombie at most: it is waited for below
    old.process.wait(STOP_S)
    return ended


def in_order(old: Old) -> float:
    """SIGTERM; the end is the process's."""
    old.process.send_signal(signal.SIGTERM)
    assert old.process.wait(STOP_S) == 0
    return time.monotonic()


def removed(old: Old) -> float:
    """As ``docker rm --force`` does: the first process of the container is killed, and the kernel ends the others."""
    return killed(old)


def network_gone(old: Old) -> float:
    """Its network is taken away with everything in it, and then it is killed: nobody hears a goodbye."""
    assert old.network is not None
    old.network.cut(old.name)
    killed(old)
    return time.monotonic()


ENDINGS: dict[str, Callable[[Old], float]] = {
    "hung": hung,
    "killed": killed,
    "in order": in_order,
    "container removed": removed,
    "network gone": network_gone,
}
