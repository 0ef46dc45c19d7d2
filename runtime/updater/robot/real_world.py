"""The robot itself: Docker by its client, the machine by its files, the agent by HTTP, the release folders on disk."""

from __future__ import annotations

import os
import re
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Dict, Iterable, Optional, Tuple

from runtime.contract.jetson import module_in, release_in
from runtime.contract.node.resources import LOCK_FILE
from runtime.contract.node.runtime_config import NODE_DIR
from runtime.contract.node.serving import ENV_HOST_NODE_DIR, FIRST, NODES_DIR, SECOND, node_folder
from runtime.contract.node.signed_engines import SignedEngines
from runtime.contract.robot.release import SecretReference
from runtime.contract.robot.update import ROBOT_DIR, RunningRelease
from runtime.contract.robot.verification import VERIFY_MARGIN_S
from runtime.updater.robot.fetch_process import FetchingDocker
from runtime.updater.robot.node_folders import ask_agent, container_uid, make_node_folder, remove_node_folders
from runtime.updater.robot.serving_token import ServingToken
from runtime.updater.robot.trust_folder import TrustFolder
from runtime.updater.robot.update_lock import HeldLock, take
from runtime.updater.state.lock_answer import FREE, LockAnswer
from runtime.updater.state.records import Mark
from runtime.updater.state.release_folder import ENV_FILE, order_in
from runtime.updater.state.signed_engines import signed_engines
from runtime.updater.state.world import PROJECT, ContainerFacts, Disk, Hardware, StepInterrupted, WorldError
from runtime.updater.storage.folders import ReleaseFolders
from runtime.updater.transaction.trust import is_unsigned

REPORT_S = 3.0
#: Younger facts of a container are not asked for again, where its agent is asked.
SEEN_S = 5.0
MAX_REPORT_BYTES = 1024 * 1024
_AVAILABLE = re.compile(r"^MemAvailable:\s+(\d+) kB", re.MULTILINE)


class RealWorld(FetchingDocker, ReleaseFolders, TrustFolder, ServingToken):
    """See :class:`runtime.updater.state.world.World`. ``root`` and ``project`` differ in tests only."""

    def __init__(self, root: Path = Path(ROBOT_DIR), project: str = PROJECT, machine: Path = Path("/")) -> None:
        self.interrupt = threading.Event()
        self.wake = threading.Event()
        self.said = ""
        FetchingDocker.__init__(self, root, self.interrupt, project, machine=machine)
        ReleaseFolders.__init__(self, root)
        TrustFolder.__init__(self, root)
        ServingToken.__init__(self, root)
        self._machine = machine
        self._boot_id = ""
        self._update_lock: Optional[HeldLock] = None
        self._seen: Dict[str, Tuple[float, Optional[ContainerFacts]]] = {}

    @property
    def machine(self) -> Path:
        """The machine's root folder."""
        return self._machine

    def secret(self, reference: SecretReference) -> str:
        """Return a secret from where it is on this robot. See `secret_values`."""
        from runtime.updater.robot.secret_values import SecretValues  # an idle updater may take little memory

        return SecretValues(self._machine).secret(reference)

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
        return Hardware(
            module=module_in(_text(self._machine / "proc/device-tree/compatible")),
            l4t=release_in(_text(self._machine / "etc/nv_tegra_release")),
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
        path = self._lock_path()
        try:
            answer, self._update_lock = take(declared, path)
        except OSError as error:
            text = "the update lock {} cannot be read: {}".format(path, error.strerror)
            raise WorldError(text, "see `fleet-updater doctor`", transient=True) from error
        return answer

    def release_update_lock(self) -> None:
        """Give the lock back; without it that is fine."""
        if self._update_lock is not None:
            self._update_lock.release()
            self._update_lock = None

    def container(self, slot: str = "") -> Optional[ContainerFacts]:
        """Return the slot's runtime container, running or not."""
        found = super().container(slot)
        if found is not None and found.node_dir.startswith(NODES_DIR + "/"):
            self._own_node_folder(found.node_dir)
        self._seen[slot] = time.monotonic(), found
        return found

    def _own_node_folder(self, node_dir: str) -> None:
        """Give a container's folder to its user where Docker made it, for root: a release that was started by hand."""
        place = self._machine / node_dir.lstrip("/")
        try:
            if place.stat().st_uid != os.geteuid() or os.geteuid() != 0:
                return
            uid = container_uid(self.read_release(place.name.partition("-")[2], ENV_FILE))
        except (OSError, WorldError):
            return  # gone, or of no release of ours: whoever asks its agent says that nobody answers
        make_node_folder(place, self.note, uid)

    def compose_up(self, folder: str, slot: str = "") -> None:
        """Make the slot's containers those of the release folder; leave alone what is right already."""
        dot_env = self.read_release(folder, ENV_FILE)
        if ENV_HOST_NODE_DIR in dot_env:
            ours = node_folder(slot, folder)
            used = {facts.node_dir for facts in map(self.container, (FIRST, SECOND)) if facts is not None}
            remove_node_folders(self._machine, used, self.note)
            make_node_folder(self._machine / ours.lstrip("/"), self.note, container_uid(dot_env))
        self._hand_down(folder, slot)
        super().compose_up(folder, slot)
        self._seen.pop(slot, None)

    def make_shared(self, releases: Iterable[RunningRelease]) -> None:
        """Make what containers find on the host, for these releases: after a reboot, before Docker starts them, or
        after an older updater. Never raises."""
        make_node_folder(self._machine / NODE_DIR.lstrip("/"), self.note, mode=0o755)
        try:
            self.make_serving_lock()
            for release in releases:
                dot_env = self.read_release(release.folder, ENV_FILE)
                if ENV_HOST_NODE_DIR in dot_env:
                    place = self._machine / node_folder(release.slot, release.folder).lstrip("/")
                    make_node_folder(place, self.note, container_uid(dot_env))
                self._hand_down(release.folder, release.slot)
        except WorldError as error:
            self.note(error.message)

    def _hand_down(self, folder: str, slot: str) -> None:
        """Let the slot's container know which engines may be put into it."""
        signed = SignedEngines("", ())  # of a release that cannot be read: none
        if is_unsigned(self):
            return self.set_signed_engines(slot, None, self.note)
        try:
            signed = signed_engines(order_in(self, folder))
        except WorldError as error:
            self.note(error.message)
        return self.set_signed_engines(slot, signed, self.note)

    def _lock_path(self) -> Path:
        """The update lock of the container that serves."""
        slot = self.serving() or FIRST
        container = self.container(slot)
        shared = container.node_dir if container is not None else ""
        return self._machine / (shared or NODE_DIR).lstrip("/") / Path(LOCK_FILE).name

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
        """Ask the agent in the slot's container on its own socket. The port, which is any process's to take, is asked
        only of releases whose compose files give their container no folder of its own."""
        at, container = self._seen.get(slot, (0.0, None))
        if container is None or time.monotonic() - at > SEEN_S:
            container = self.container(slot)
        if container is None:
            raise ValueError("no runtime container exists")
        own = ask_agent(container, self._machine, slot, timeout_s) if container.node_dir else None
        if own is not None:
            return exchange(own, path, timeout_s)
        if container.node_dir.startswith(NODES_DIR + "/"):
            raise ValueError("no process listens in {}".format(container.node_dir))
        return get(port, path, timeout_s)


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
