"""Makes the machine that it runs on a robot, without SSH: what a bundle of `fleet enroll` does, as root.

Stdlib and Python 3.8 only. The bundle holds this file and, as JSON: ``robot``, ``fleet``, ``root_dir``, ``zipapp``
(base64), ``programs`` (text of `remote_install` and `remote_registry`) with their parameters ``install`` and
``registry``, ``trust`` (the last root, as the robot keeps it), ``roots`` (the chain), ``updater`` (its statement, or
null), ``pull`` (`pull.json`), ``hub_ca`` (base64, or null) and ``host_keys``. Safe to run again; a machine that is
another robot already is refused before anything is written. Exit code 3: refused.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, NoReturn  # noqa: UP035


def main(p: Dict[str, Any], machine: str = "/") -> Dict[str, Any]:  # noqa: UP006
    """Install what differs; return what was done."""
    if os.geteuid() != 0 and machine == "/":
        refuse("this makes the machine robot {} and needs root: run it with sudo".format(p["robot"]))
    check_machine(p)
    install, registry = (program(p["programs"][name], name) for name in ("remote_install", "remote_registry"))
    install["check_identity"](Path(p["install"]["identity"]), {"robot": p["robot"], "fleet": p["fleet"]})
    key = host_key(p, machine)
    source = Path(p["install"]["source"])
    write(source, base64.b64decode(p["zipapp"]), 0o600)
    done: Dict[str, Any] = install["main"](p["install"])  # noqa: UP006
    bring_trust(p)
    registry["main"](p["registry"])
    put_pull(p)
    return {"robot": p["robot"], "fingerprint": fingerprint(key), "host_key": " ".join(key.split()[:2]), **done}


def check_machine(p: Dict[str, Any]) -> None:  # noqa: UP006
    """Say at once all that an updater needs and this machine lacks."""
    lacks = [name for name in p["needs"] if not on_path(name)]
    if lacks:
        refuse("this machine lacks {}: install it, then run this again".format(", ".join(lacks)))


def on_path(name: str) -> bool:
    """Say whether a program is where services look for it."""
    folders = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return any(os.access(os.path.join(folder, name), os.X_OK) for folder in folders.split(":"))  # noqa: PTH118


def host_key(p: Dict[str, Any], machine: str) -> str:  # noqa: UP006
    """Return the public half of the key that will sign this robot's reports; one is made where there is none."""
    found = [Path(machine) / each for each in p["host_keys"]]
    if not any(path.exists() for path in found) and machine == "/":
        subprocess.run(["ssh-keygen", "-A"], check=True, stdout=subprocess.DEVNULL)
    there = [path for path in found if path.exists()]
    if not there:
        refuse("this machine has no SSH host key, and none could be made (ssh-keygen -A)")
    ran = subprocess.run(["ssh-keygen", "-y", "-f", str(there[0])], check=True, stdout=subprocess.PIPE)
    return ran.stdout.decode("utf-8")


def fingerprint(key: str) -> str:
    """Return ``SHA256:…`` of a public key."""
    ran = subprocess.run(["ssh-keygen", "-l", "-f", "-"], check=True, input=key.encode("utf-8"), stdout=subprocess.PIPE)
    return ran.stdout.decode("utf-8").split()[1]


def bring_trust(p: Dict[str, Any]) -> None:  # noqa: UP006
    """Give a new robot its first trust root; a robot that has one judges the chain by itself."""
    folder = Path(p["root_dir"]) / "trust-root"
    root = folder / "root.json"
    if not root.exists():
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        write(root, (p["trust"] + "\n").encode("utf-8"), 0o644)
        if p["updater"] is not None:
            write(folder / "updater.json", (p["updater"] + "\n").encode("utf-8"), 0o644)
        return
    if root.read_text(encoding="utf-8").strip() == p["trust"]:
        return
    told = json.dumps({"roots": p["roots"]})
    ran = subprocess.run(
        [p["install"]["command"], "take-root"], check=False, input=told.encode("utf-8"), stderr=subprocess.PIPE
    )
    if ran.returncode != 0:
        lines: List[str] = ran.stderr.decode("utf-8", "replace").strip().splitlines()  # noqa: UP006
        refuse("this robot has a trust root, and its updater says: {}".format(lines[-1] if lines else "nothing"))


def put_pull(p: Dict[str, Any]) -> None:  # noqa: UP006
    """Write what the robot is told of registry and hub."""
    folder = Path(p["root_dir"])
    settings = dict(p["pull"])
    if p["hub_ca"] is not None:
        place = folder / "hub-ca.pem"
        write(place, base64.b64decode(p["hub_ca"]), 0o644)
        settings["hub_ca"] = str(place)
    write(folder / "pull.json", json.dumps(settings, sort_keys=True).encode("utf-8") + b"\n", 0o644)
    command = p["install"]["command"]
    if os.access(command, os.X_OK):  # a daemon that answers looks at once, another one when it starts
        subprocess.run([command, "poll"], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def program(text: str, name: str) -> Dict[str, Any]:  # noqa: UP006
    """Return what a program of `fleet bootstrap` defines."""
    space: Dict[str, Any] = {"__name__": name}  # noqa: UP006
    exec(compile(text, name + ".py", "exec"), space)  # noqa: S102
    return space


def write(path: Path, content: bytes, mode: int) -> None:
    """Put ``content`` there whole, and on the disk."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(str(temporary), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def refuse(reason: str) -> NoReturn:
    """End with one sentence."""
    sys.stderr.write(reason + "\n")
    sys.exit(3)


def run(content: str) -> int:
    """What the bundle calls: do it, and say it to whoever stands at the machine."""
    found = main(json.loads(content))
    sys.stdout.write("{} is installed; its host key is {}\n".format(found["robot"], found["fingerprint"]))
    if found["service"] != "systemd":
        sys.stdout.write("no systemd runs here: start `fleet-updater serve` and keep it running\n")
    sys.stdout.write(
        "accept it: fleet enroll accept {} --fingerprint {}\n".format(found["robot"], found["fingerprint"])
    )
    return 0
