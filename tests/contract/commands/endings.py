"""The ways in which the executor that serves comes to its end. Not a test module.

Each hands over, and returns when the old one came to its end, in seconds of the monotonic clock. A hung one is ended
by the kernel while it is stopped, and a container goes with its namespaces.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.contract.commands.network_site import NetworkSite
from tests.contract.robot.robot_process import ROOT, STOP_S

HUNG_S = 2.5
"""Longer than a participant's lease."""
#: What makes a container of a process: it is the first one of its own process namespace, which goes with it.
CONTAINED = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


#: Of the executor's environment, what the container is given.
PASSED = (
    "FASTDDS_DEFAULT_PROFILES_FILE", "JETFLEET_CONFIG", "JETFLEET_ENGINES_DIR", "JETFLEET_NODE_DIR",
    "JETFLEET_SERVE_DIR", "JETFLEET_SLOT", "PYTHONPATH", "RMW_IMPLEMENTATION", "ROS_AUTOMATIC_DISCOVERY_RANGE",
    "ROS_DOMAIN_ID", "ROS_LOG_DIR",
)  # fmt: skip
IMAGE = "jetfleet-nothing"
#: The container's file system is this machine's: there is nothing else in the image.
SHARED = ("/usr", "/lib", "/lib64", "/bin", "/etc", "/opt", "/tmp", str(ROOT), sys.prefix, sys.base_prefix)


class Docker:
    """An Engine that runs this machine's own Python in containers: real ones, without an image to build."""

    @classmethod
    def found(cls) -> Docker | None:
        """Return it, with its empty image; None where no Engine answers."""
        try:
            nothing = subprocess.run(
                ["docker", "import", "-", IMAGE], input=bytes(10240), capture_output=True, check=False, timeout=60
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return cls() if nothing.returncode == 0 else None

    def words(self, name: str) -> list[str]:
        """Return the words before a command that run it in a container of that name."""
        folders = [folder for folder in dict.fromkeys(SHARED) if Path(folder).exists()]
        mounts = [word for folder in folders for word in ("--volume", f"{folder}:{folder}")]
        given = [word for variable in PASSED for word in ("--env", variable)]
        place = ["--network", "host", "--ipc", "host", "--workdir", str(ROOT)]
        return ["docker", "run", "--rm", "--name", name, *place, *mounts, *given, IMAGE]

    def remove(self, name: str) -> None:
        """Take a container away with everything in it."""
        subprocess.run(["docker", "rm", "--force", name], check=True, capture_output=True, timeout=STOP_S)

    def remove_all(self, prefix: str) -> None:
        """Leave none whose name begins so."""
        listed = subprocess.run(
            ["docker", "ps", "--all", "--format", "{{.Names}}", "--filter", f"name={prefix}"],
            check=True, capture_output=True, text=True, timeout=STOP_S,
        )  # fmt: skip
        for name in listed.stdout.split():
            subprocess.run(["docker", "rm", "--force", name], check=False, capture_output=True, timeout=STOP_S)


@dataclass(frozen=True)
class Old:
    """The executor that is to end."""

    process: subprocess.Popen[str]
    network: NetworkSite | None = None
    """Where it has a network namespace of its own, and the name of that."""
    name: str = ""
    """Of the host in ``network``, or of the container."""
    docker: Docker | None = None
    """The Engine that runs it, where one does."""


HandOver = Callable[[], None]
"""Gives the token to the other one; called once."""


def hung(old: Old, hand_over: HandOver) -> float:
    """Stopped, for longer than a participant's lease, then killed; a SIGCONT afterwards wakes nobody."""
    os.kill(old.process.pid, signal.SIGSTOP)
    hand_over()
    time.sleep(HUNG_S)
    ended = time.monotonic()
    os.kill(old.process.pid, signal.SIGKILL)
    os.kill(old.process.pid, signal.SIGCONT)  # what is left of it is waited for below
    old.process.wait(STOP_S)
    return ended


def killed(old: Old, hand_over: HandOver) -> float:
    """SIGKILL."""
    ended = time.monotonic()
    old.process.kill()
    old.process.wait(STOP_S)
    hand_over()
    return ended


def in_order(old: Old, hand_over: HandOver) -> float:
    """SIGTERM; the end is the process's."""
    old.process.send_signal(signal.SIGTERM)
    assert old.process.wait(STOP_S) == 0
    ended = time.monotonic()
    hand_over()
    return ended


def removed(old: Old, hand_over: HandOver) -> float:
    """``docker rm --force``, or what it does: the container's first process is killed, and the kernel ends the rest."""
    if old.docker is None:
        return killed(old, hand_over)
    old.docker.remove(old.name)
    ended = time.monotonic()
    hand_over()
    old.process.wait(STOP_S)
    return ended


def network_gone(old: Old, hand_over: HandOver) -> float:
    """Its network is taken away with everything in it, and then it is killed: nobody hears a goodbye."""
    assert old.network is not None
    old.network.cut(old.name)
    return killed(old, hand_over)


ENDINGS: dict[str, Callable[[Old, HandOver], float]] = {
    "hung": hung,
    "killed": killed,
    "in order": in_order,
    "container removed": removed,
    "network gone": network_gone,
}
