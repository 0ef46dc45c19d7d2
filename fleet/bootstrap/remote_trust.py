"""Puts what a robot believes in place. Sent to the robot and run there as root by `remote_python`.

Stdlib and Python 3.8 only, imported by nothing. The one argument is JSON: ``folder``, ``identity`` (file), ``robot``,
``fleet``, ``files`` (name → base64). ``trust.json`` is written last: until it is there a new robot takes no order.
Every file is written under a temporary name, fsynced and renamed. Prints one JSON object; a refusal goes to stderr with
exit code 3.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from pathlib import Path
from typing import Any, Dict, NoReturn  # noqa: UP035

LAST = "trust.json"


def main(p: Dict[str, Any]) -> Dict[str, Any]:  # noqa: UP006
    """Write what differs, remove what is not meant to be there; return whether anything changed."""
    check_identity(Path(p["identity"]), {"robot": p["robot"], "fleet": p["fleet"]})
    folder = Path(p["folder"])
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    changed = False
    for name in sorted(p["files"], key=lambda name: (name == LAST, name)):
        changed |= write(folder / name, base64.b64decode(p["files"][name]))
    for path in folder.iterdir():
        if path.name not in p["files"]:
            path.unlink()
            changed = True
    sync(folder)
    return {"changed": changed}


def check_identity(path: Path, identity: Dict[str, str]) -> None:  # noqa: UP006
    """Refuse a machine that is another robot, or none."""
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        refuse("this machine was never bootstrapped")
    if there != identity:
        refuse(f"this machine is robot {there.get('robot')} of fleet {there.get('fleet')}")


def write(path: Path, content: bytes) -> bool:
    """Put ``content`` there whole; return False when it was there already."""
    if path.exists() and path.read_bytes() == content:
        return False
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fchmod(file.fileno(), 0o644)
        os.fsync(file.fileno())
    temporary.replace(path)
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
