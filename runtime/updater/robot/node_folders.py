"""The folders that containers write to, one for each, and who answers on the socket in one.

A folder is named after slot and release (``runtime.contract.node.serving.node_folder``), so no container finds what
another one left there. Releases of before that share ``/run/jetfleet/node``. Either way an answer counts only when the
kernel says that it comes out of the very container that is asked.
"""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import Callable, Iterable, Optional

from runtime.contract.node.serving import NODES_DIR, health_socket
from runtime.contract.robot.power import ENV_UID
from runtime.updater.robot.json_socket import peer_of
from runtime.updater.state.world import ContainerFacts, WorldError
from runtime.updater.storage.durable import remove_foreign

NODE_UID = 1000
"""User of the runtime container, unless JETFLEET_UID says otherwise."""
_UID = re.compile(r"^{}=['\"]?(\d{{1,9}})['\"]?$".format(ENV_UID), re.MULTILINE)
#: Ends the name of a folder that is being removed.
GONE = ".gone"
_MAX_CGROUP_BYTES = 64 * 1024


def container_uid(dot_env: str) -> int:
    """Return the user that a release's container runs as. ``dot_env``: the text of its ``.env``."""
    found = _UID.search(dot_env)
    return int(found.group(1)) if found else NODE_UID


def make_node_folder(folder: Path, say: Callable[[str], None], uid: int = NODE_UID, mode: int = 0o750) -> None:
    """Make a container's folder, which Docker would make for root alone. Never raises."""
    try:
        folder.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        folder.mkdir(mode=mode, exist_ok=True)
        if os.geteuid() == 0 and folder.stat().st_uid != uid:
            os.chown(str(folder), uid, uid)
            folder.chmod(mode)
    except OSError as error:
        say("cannot make {}: {}: nothing can hold the update lock".format(folder, error.strerror))


def remove_node_folders(machine: Path, used: Iterable[str], say: Callable[[str], None]) -> None:
    """Remove the folders that no container has any more: they are memory. ``used``: paths on the host. Never raises."""
    root, kept = machine / NODES_DIR.lstrip("/"), {Path(path).name for path in used}
    if not root.is_dir():
        return
    parent = os.open(str(root), os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in os.listdir(parent):  # noqa: PTH208  (a descriptor, not a path)
            if name not in kept:
                _remove(name, parent)
    except OSError as error:
        say("cannot remove an old container's folder in {}: {}".format(root, error.strerror))
    finally:
        os.close(parent)


def _remove(name: str, parent: int) -> None:
    """Out of the way first: what cannot be removed is not there for the next container of this release either."""
    away = name
    if not name.endswith(GONE):
        away = "{}.{}{}".format(name, os.getpid(), GONE)
        os.rename(name, away, src_dir_fd=parent, dst_dir_fd=parent)
    remove_foreign(away, parent)


def ask_agent(container: ContainerFacts, machine: Path, slot: str, timeout_s: float) -> Optional["socket.socket"]:
    """Connect to the agent in ``container``; None when its folder has no socket, or nobody listens there any more.

    Raises WorldError when whoever answers is not in the container, OSError.
    """
    path = machine / container.node_dir.lstrip("/") / health_socket(slot)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout_s)
    try:
        connection.connect(str(path))
        peer = peer_of(connection)
        if not in_container(peer.pid, container.id, machine / "proc"):
            text = "{} is answered by process {}, which is not in the container {} that is asked".format(
                path, peer.pid, container.id[:12]
            )
            raise WorldError(text, "see who that is on the robot: what it says is not looked at", transient=True)
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    except BaseException:
        connection.close()
        raise
    return connection


def in_container(pid: int, container: str, proc: Path = Path("/proc")) -> bool:
    """Say whether a process is in the control group of a container, by its id of 64 hex. Cgroup v1 and v2.

    Docker names the group ``…/<id>`` (driver cgroupfs) or ``…/docker-<id>.scope`` (systemd). Nobody without root moves
    a process into another group. A process that is gone is in none.
    """
    ours = re.compile(r"(?:docker-|libpod-)?{}(?:\.scope)?".format(re.escape(container)))
    if not container:
        return False
    try:
        with (proc / str(pid) / "cgroup").open("rb") as stream:
            text = stream.read(_MAX_CGROUP_BYTES).decode("utf-8", "replace")
    except OSError:
        return False
    groups = [line.split(":", 2)[2] for line in text.splitlines() if line.count(":") >= 2]
    return any(ours.fullmatch(part) for group in groups for part in group.split("/"))
