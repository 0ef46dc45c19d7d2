"""Gives a robot the registry's authority and a login. Sent to it as text and run there as root.

Stdlib and Python 3.8 only, imported by nothing. The one argument, which comes on stdin and stands in no list of
processes (`fleet.link.remote_python`), is JSON:
``identity`` (file), ``robot``, ``fleet``; ``host`` of the registry; ``certs`` (Docker's folder of authorities) and
``authority`` (base64 of a PEM file, or null); ``folder`` of the login and ``login`` (a docker client's config.json, or
null), ``helper`` (the credential helper in it, or null). What is null is taken away. Every file is written under a
temporary name, fsynced and renamed; the login is root's alone from its first byte on. Prints one JSON object; a refusal
goes to stderr with exit code 3.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Dict, NoReturn  # noqa: UP035

#: Next to what somebody else put into the registry's folder.
AUTHORITY = "jetfleet-ca.crt"
LOGIN = "config.json"
#: Where systemd looks for the programs that a service starts.
PROGRAMS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def main(p: Dict[str, Any]) -> Dict[str, Any]:  # noqa: UP006
    """Write what differs, take away what is not meant to be there; return whether anything changed."""
    check_identity(Path(p["identity"]), {"robot": p["robot"], "fleet": p["fleet"]})
    if p["helper"] and shutil.which("docker-credential-" + p["helper"], path=PROGRAMS) is None:
        refuse(f"docker-credential-{p['helper']} is not in {PROGRAMS} of this machine")
    changed = put_authority(Path(p["certs"]), p["host"], p["authority"])
    return {"changed": put_login(Path(p["folder"]), p["login"]) or changed}


def put_authority(certs: Path, host: str, authority: Any) -> bool:
    """Make the registry's folder of authorities hold ours, and no other registry's."""
    changed = False
    for path in certs.glob("*/" + AUTHORITY):
        if authority is None or path.parent.name != host:
            path.unlink()
            changed = True
            if not any(path.parent.iterdir()):
                path.parent.rmdir()
    if authority is None:
        return changed
    folder = certs / host
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    return write(folder / AUTHORITY, base64.b64decode(authority), 0o644) or changed


def put_login(folder: Path, login: Any) -> bool:
    """Make the folder hold this login, or none."""
    path = folder / LOGIN
    if login is None:
        there = path.exists()
        if there:
            path.unlink()
            sync(folder)
        return there
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    return write(path, json.dumps(login, sort_keys=True).encode("utf-8") + b"\n", 0o600)


def check_identity(path: Path, identity: Dict[str, str]) -> None:  # noqa: UP006
    """Refuse a machine that is another robot, or none."""
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        refuse("this machine was never bootstrapped")
    if there != identity:
        refuse(f"this machine is robot {there.get('robot')} of fleet {there.get('fleet')}")


def write(path: Path, content: bytes, mode: int) -> bool:
    """Put ``content`` there whole and with this mode; return False when it was so already."""
    if path.is_file() and path.stat().st_mode & 0o7777 == mode and path.read_bytes() == content:
        return False
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    if temporary.exists():
        temporary.unlink()
    try:
        with os.fdopen(os.open(str(temporary), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
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


def refuse(reason: str) -> NoReturn:
    """End with one sentence."""
    sys.stderr.write(reason + "\n")
    sys.exit(3)


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
