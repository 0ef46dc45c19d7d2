"""Puts the updater in place. Sent to the robot and run there as root by `remote_python`.

Stdlib and Python 3.8 only, imported by nothing. The one argument is JSON: ``source`` (the uploaded zipapp), ``sha256``,
``target``, ``command`` (the wrapper), ``identity`` (file), ``robot``, ``fleet``, ``socket``, ``unit`` (file),
``unit_text``, ``wrapper_text``, ``launcher_text``, ``version``, ``trial_s``, ``signed`` (its statement as JSON,
or empty). Every file is written under a temporary
name, fsynced and renamed: a power cut leaves the old one or the new one. Prints one JSON object; a refusal goes to
stderr with exit code 3.

`runtime/updater/selfupdate/launcher.py`, which is what ``target`` itself becomes, says what lies next to ``target``.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any, Dict, NoReturn, Tuple  # noqa: UP035

IN_USE, TRIAL = "in-use", "trial.json"

SYSTEMD = Path("/run/systemd/system")
"""Is there where systemd runs the machine."""


def main(p: Dict[str, str]) -> Dict[str, Any]:  # noqa: UP006
    """Install what differs; return what was done."""
    source, target, unit = Path(p["source"]), Path(p["target"]), Path(p["unit"])
    content = source.read_bytes()
    if hashlib.sha256(content).hexdigest() != p["sha256"]:
        refuse("the uploaded updater is damaged")
    identity = {"robot": p["robot"], "fleet": p["fleet"]}
    check_identity(Path(p["identity"]), identity)
    write(Path(p["identity"]), json.dumps(identity, sort_keys=True) + "\n", 0o644)
    if has_signed_root(target.parent.parent / "trust-root" / "root.json"):
        changed = on_trial = ask_updater(p, target, content)
    else:
        changed, on_trial = put_updater(p, target, content)
    write(Path(p["command"]), p["wrapper_text"], 0o755)
    source.unlink()
    if SYSTEMD.is_dir():
        changed |= write(unit, p["unit_text"], 0o644)
        for verb in ("daemon-reload", "enable", "restart" if changed else "start"):
            names = [] if verb == "daemon-reload" else [unit.name]
            subprocess.run(["systemctl", "--quiet", verb, *names], check=True)
        return {"changed": changed, "service": "systemd", "trial": on_trial}
    if changed:
        stop_old(p["socket"], str(target.parent))
    return {"changed": changed, "service": "supervised", "trial": on_trial}


def has_signed_root(path: Path) -> bool:
    """Whether this robot judges updaters by what is signed. A root that cannot be read is one."""
    try:
        return json.loads(json.loads(path.read_text(encoding="utf-8"))["statement"]).get("unsigned") is not True
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return True


def ask_updater(p: Dict[str, str], target: Path, content: bytes) -> bool:  # noqa: UP006
    """Have the updater that is in use judge the new one and put it on trial, in the place of its dead daemon."""
    told = {
        "zipapp": base64.b64encode(content).decode("ascii"),
        "signed": json.loads(p.get("signed") or "null"),
        "version": p["version"],
        "trial_s": float(p["trial_s"]),
    }
    command = [sys.executable, "-I", str(target), "--root", str(target.parent.parent), "--socket", p["socket"]]
    ran = subprocess.run(
        [*command, "take-updater", "--json"], input=json.dumps(told).encode(), capture_output=True, check=False
    )
    if ran.returncode != 0:
        lines = ran.stderr.decode("utf-8", "replace").strip().splitlines()
        refuse("this robot has a signed trust root, and its updater says: {}".format(lines[-1] if lines else "nothing"))
    return bool(json.loads(ran.stdout.decode("utf-8"))["trial"])


def put_updater(p: Dict[str, str], target: Path, content: bytes) -> Tuple[bool, bool]:  # noqa: UP006
    """Put the updater into a slot; return whether the daemon must start again, and whether it is on trial then."""
    folder, name = target.parent, target.name
    link, trial = folder / IN_USE, folder / TRIAL
    if zipfile.is_zipfile(target):  # an older layout: the updater itself, and it is what runs
        write(folder / "a" / name, target.read_bytes(), 0o755)
        point(link, "a")
        drop(trial)
    first = not (link.is_symlink() and (link / name).is_file())
    if first:
        write(folder / "a" / name, content, 0o755)
        point(link, "a")
    used = os.readlink(link)  # noqa: PTH115  (Path.readlink is 3.9)
    same = is_same(link / name, content)
    free = "b" if used == "a" else "a"
    if not same:
        drop(trial)
        write(folder / free / name, content, 0o755)
    changed = write(target, p["launcher_text"], 0o755) or first
    if same:
        return drop(trial) or changed, False
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    until = time.clock_gettime(time.CLOCK_BOOTTIME) + float(p["trial_s"])
    began = {"slot": free, "version": p["version"], "boot_id": boot_id, "until": until, "tries": 0, "failed": ""}
    write(trial, json.dumps(began), 0o644)
    return True, True


def is_same(path: Path, content: bytes) -> bool:
    """Whether two updaters are one: the same files in it. Another machine's zlib may have packed them otherwise."""
    if path.read_bytes() == content:
        return True
    try:
        with zipfile.ZipFile(str(path)) as there, zipfile.ZipFile(io.BytesIO(content)) as ours:
            files = [[(entry.filename, entry.CRC) for entry in archive.infolist()] for archive in (there, ours)]
            return files[0] == files[1] and there.testzip() is None
    except (zipfile.BadZipFile, zlib.error):
        return False


def point(link: Path, target: str) -> None:
    """Make ``link`` a symlink to ``target``, atomically."""
    temporary = link.with_name(link.name + ".tmp")
    if temporary.is_symlink():
        temporary.unlink()
    temporary.symlink_to(target)
    temporary.replace(link)
    sync(link.parent)


def drop(trial: Path) -> bool:
    """Forget an earlier trial; return whether one was going on, so that what runs is not the proven updater."""
    if not trial.exists():
        return False
    try:
        ended = bool(json.loads(trial.read_text(encoding="utf-8"))["failed"])
    except (ValueError, KeyError, TypeError):
        ended = False
    trial.unlink()
    sync(trial.parent)
    return not ended


def check_identity(path: Path, identity: Dict[str, str]) -> None:  # noqa: UP006
    """Refuse to make one machine two robots."""
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return  # Not there, or not ours to understand: written again.
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
    sync(path.parent)
    return True


def sync(folder: Path) -> None:
    """Put the names in ``folder`` on disk."""
    descriptor = os.open(str(folder), os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def stop_old(path: str, folder: str) -> None:
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
    if any(argument.startswith(folder.encode() + b"/") for argument in arguments):
        os.kill(pid, signal.SIGTERM)


def refuse(reason: str) -> NoReturn:
    """End with one sentence."""
    sys.stderr.write(reason + "\n")
    sys.exit(3)


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
