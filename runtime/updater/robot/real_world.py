"""The robot itself: Docker by its client, the machine by its files, the agent by HTTP, the release folders on disk."""

from __future__ import annotations

import os
import re
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Optional, Tuple

from runtime.contract.node.resources import LOCK_FILE
from runtime.contract.robot.update import ROBOT_DIR
from runtime.contract.robot.verification import VERIFY_MARGIN_S
from runtime.updater.robot.fetch_process import FetchingDocker
from runtime.updater.robot.serving_token import ServingToken
from runtime.updater.robot.trust_folder import TrustFolder
from runtime.updater.robot.update_lock import HeldLock, take
from runtime.updater.state.lock_answer import FREE, LockAnswer
from runtime.updater.state.records import Mark
from runtime.updater.state.world import PROJECT, Disk, Hardware, StepInterrupted, WorldError
from runtime.updater.storage.folders import ReleaseFolders

REPORT_S = 3.0
MAX_REPORT_BYTES = 1024 * 1024
_L4T = re.compile(r"R(\d+) \(release\), REVISION: ([\d.]+)")
_AVAILABLE = re.compile(r"^MemAvailable:\s+(\d+) kB", re.MULTILINE)
_MODULE = re.compile(r"p3767-\d{4}")


class RealWorld(FetchingDocker, ReleaseFolders, TrustFolder, ServingToken):
    """See :class:`runtime.updater.state.world.World`. ``root`` and ``project`` differ in tests only."""

    def __init__(self, root: Path = Path(ROBOT_DIR), project: str = PROJECT, machine: Path = Path("/")) -> None:
        self.interrupt = threading.Event()
        self.wake = threading.Event()
        self.said = ""
        FetchingDocker.__init__(self, root, self.interrupt, project, machine=machine)
        ReleaseFolders.__init__(self, root)
        TrustFolder.__init__(self, root)
        ServingToken.__init__(self, root, machine)
        self._machine = machine
        self._boot_id = ""
        self._update_lock: Optional[HeldLock] = None

    def mark(self) -> Mark:
        """Return this moment."""
        if not self._boot_id:
            self._boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return Mark(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME), self._boot_id)

    def sleep(self, seconds: float) -> None:
        """Wait, at most so long; shorter when there is news."""
        self.wake.wait(seconds)
        self.wake.clear()
        if self.interrupt.is_set():
            raise StepInterrupted()

    def note(self, text: str) -> None:
        """Say in one line what is going on, once."""
        if text != self.said:
            self.said = text
            sys.stderr.write(text + "\n")
            sys.stderr.flush()

    def hardware(self) -> Hardware:
        """Read what the machine says of itself."""
        release = _text(self._machine / "etc/nv_tegra_release")
        match = _L4T.search(release)
        module = _MODULE.search(_text(self._machine / "proc/device-tree/compatible"))
        return Hardware(
            module=module.group(0) if module else None,
            l4t="{}.{}".format(match.group(1), match.group(2)) if match else None,
        )

    def disk(self, path: str) -> Disk:
        """Return the free space of the volume that holds ``path`` (or its nearest existing parent)."""
        place = Path(path)
        while not place.exists() and place != place.parent:
            place = place.parent
        found = os.statvfs(str(place))
        return Disk(str(place), found.f_bavail * found.f_frsize, str(place.stat().st_dev))

    def present(self, path: str) -> bool:
        """Say whether a file or folder of the machine is there."""
        return (self._machine / path.lstrip("/")).exists()

    def take_update_lock(self, declared: bool) -> LockAnswer:
        """Take the node's update lock, or say why not; one that we hold already is free."""
        if self._update_lock is not None:
            return LockAnswer(FREE)
        path = self._machine / LOCK_FILE.lstrip("/")
        try:
            answer, self._update_lock = take(declared, path)
        except OSError as error:
            text = "the update lock {} cannot be asked: {}".format(path, error.strerror)
            raise WorldError(text, "see `fleet-updater doctor`", transient=True) from error
        return answer

    def release_update_lock(self) -> None:
        """Give the lock back; without it that is fine."""
        if self._update_lock is not None:
            self._update_lock.release()
            self._update_lock = None

    def memory_available(self) -> Optional[int]:
        """Return the bytes that a new process may take; None when the machine does not say."""
        found = _AVAILABLE.search(_text(self._machine / "proc/meminfo"))
        return int(found.group(1)) * 1024 if found else None

    def report(self, port: int, slot: str = "") -> str:
        """Ask the slot's agent for its HealthReport, as JSON text. One that has only the port is asked there."""
        try:
            status, body = self._get(port, slot, "/report", REPORT_S)
        except (OSError, ValueError) as error:
            text = "the agent on port {} does not answer: {}".format(port, error)
            raise WorldError(text, "see `fleet logs`", transient=True) from error
        if status not in (200, 503):
            raise WorldError("the agent on port {} answers {} to /report".format(port, status), transient=True)
        return body.decode("utf-8", "replace")

    def verify(self, port: int, seconds: float, slot: str = "") -> str:
        """Have the agent check the robot, listening for ``seconds``; return its Verification, as JSON text."""
        # The agent's own process may take all of its margin; what it says then is worth waiting for.
        limit_s = seconds + VERIFY_MARGIN_S + REPORT_S
        try:
            status, body = self._get(port, slot, "/verify?seconds={:g}".format(seconds), limit_s)
        except (OSError, ValueError) as error:
            text = "the agent on port {} does not answer: {}".format(port, error)
            raise WorldError(text, "see `fleet logs`", transient=True) from error
        if status == 404:
            hint = "publish a release with this fleet's runtime images, and roll it out"
            raise WorldError("the agent in this container is too old to verify, or has no configuration", hint)
        if status != 200:
            said = body.decode("utf-8", "replace").strip()[:200]
            text = "the agent on port {} answers {} to /verify: {}".format(port, status, said)
            raise WorldError(text, transient=True)
        return body.decode("utf-8", "replace")

    def _get(self, port: int, slot: str, path: str, timeout_s: float) -> Tuple[int, bytes]:
        own = self.own_socket(slot, timeout_s)
        return get(port, path, timeout_s) if own is None else exchange(own, path, timeout_s)


def get(port: int, path: str, timeout_s: float) -> Tuple[int, bytes]:
    """Ask an HTTP server of this machine; return status and body. Raises OSError, ValueError."""
    return exchange(socket.create_connection(("127.0.0.1", port), timeout=timeout_s), path, timeout_s)


def exchange(connection: socket.socket, path: str, timeout_s: float) -> Tuple[int, bytes]:
    """Ask an HTTP server over ``connection``, and close it; return status and body. Raises OSError, ValueError.

    By hand, because http.client brings TLS and mail along: a third of the memory that an idle updater may take.
    HTTP/1.0: the body ends where the connection does.
    """
    deadline = time.monotonic() + timeout_s
    answer = bytearray()
    with connection:
        request = "GET {} HTTP/1.0\r\nHost: localhost\r\nAccept: application/json\r\n\r\n".format(path)
        connection.sendall(request.encode("ascii"))
        while True:
            left = deadline - time.monotonic()
            if left <= 0.0:
                raise ValueError("not done within {:g} s".format(timeout_s))
            connection.settimeout(left)
            piece = connection.recv(65536)
            if not piece:
                break
            answer += piece
            if len(answer) > MAX_REPORT_BYTES:
                raise ValueError("more than {} bytes".format(MAX_REPORT_BYTES))
    head, found, body = bytes(answer).partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1:2]
    if not found or not status or not status[0].isdigit():
        raise ValueError("not an HTTP answer")
    return int(status[0]), body


def _text(path: Path) -> str:
    found: Optional[bytes] = path.read_bytes() if path.exists() else None
    return "" if found is None else found.decode("utf-8", "replace")
