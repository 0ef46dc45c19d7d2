"""Puts the updater in place. Sent to the robot as text and run there as root: ``python3 -I - PARAMETERS``.

Stdlib and Python 3.8 only, imported by nothing. The one argument is JSON: ``source`` (the uploaded zipapp), ``sha256``,
``target``, ``command`` (the wrapper), ``identity`` (file), ``robot``, ``fleet``, ``socket``, ``unit`` (file),
``unit_text``, ``wrapper_text``. Every file is written under a temporary name, fsynced and renamed: a power cut leaves
the old one or the new one. Prints one JSON object; a refusal goes to stderr with exit code 3.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, NoReturn  # noqa: UP035


def main(p: Dict[str, str]) -> Dict[str, Any]:  # noqa: UP006
    """Install what differs; return what was done."""
    source, target, unit = Path(p["source"]), Path(p["target"]), Path(p["unit"])
    content = source.read_bytes()
    if hashlib.sha256(content).hexdigest() != p["sha256"]:
        refuse("the uploaded updater is damaged")
    identity = {"robot": p["robot"], "fleet": p["fleet"]}
    check_identity(Path(p["identity"]), identity)
    write(Path(p["identity"]), json.dumps(identity, sort_keys=True) + "\n", 0o644)
    changed = write(target, content, 0o755)
    write(Path(p["command"]), p["wrapper_text"], 0o755)
    source.unlink()
    if Path("/run/systemd/system").is_dir():
        changed |= write(unit, p["unit_text"], 0o644)
        for verb in ("daemon-reload", "enable", "restart" if changed else "start"):
            names = [] if verb == "daemon-reload" else [unit.name]
            subprocess.run(["systemctl", "--quiet", verb, *names], check=True)
        return {"changed": changed, "service": "systemd"}
    if changed:
        stop_old(p["socket"], str(target))
    return {"changed": changed, "service": "supervised"}


def check_identity(path: Path, identity: Dict[str, str]) -> None:  # noqa: UP006
    """Refuse to make one machine two robots."""
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return  # Not there, or not ours to understand: written anew.
    if there != identity:
        refuse(f"this machine is robot {there.get('robot')} of fleet {there.get('fleet')} already")


def write(path: Path, content: bytes | str, mode: int) -> bool:
    """Put ``content`` there whole; return False when it was there already."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    if path.exists() and path.read_bytes() == data:
        return False
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        if temporary.exists():
            temporary.unlink()
        raise
    folder = os.open(str(path.parent), os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return True


def stop_old(path: str, target: str) -> None:
    """End the running updater, so that whoever supervises it starts the new one. The socket knows who listens."""
    size = struct.calcsize("3i")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(5)
            client.connect(path)
            pid = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))[0]
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return  # None runs.
    if target.encode() in arguments:
        os.kill(pid, signal.SIGTERM)


def refuse(reason: str) -> NoReturn:
    """End with one sentence."""
    sys.stderr.write(reason + "\n")
    sys.exit(3)


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
