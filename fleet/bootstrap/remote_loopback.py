"""Lets a robot's Engine speak plain HTTP to its own 127.0.0.1. Sent to the robot and run there as root.

Stdlib and Python 3.8 only, imported by nothing. The one argument is JSON: ``file`` (the Engine's daemon.json),
``network``, ``unit``. Nothing is restarted: `insecure-registries` is read again when the Engine is told to (SIGHUP).
What the Engine then says is looked at; if it is not as wanted, the file is put back. Prints one JSON object; a refusal
goes to stderr with exit code 3.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, NoReturn  # noqa: UP035

WAIT_S, POLL_S, ASK_S = 20.0, 0.25, 30.0


def main(p: Dict[str, str]) -> Dict[str, Any]:  # noqa: UP006
    """Add the network where it is missing; return whether anything changed."""
    if network_is_open(p["network"]):
        return {"changed": False}
    path = Path(p["file"])
    before: bytes | None = path.read_bytes() if path.exists() else None
    settings = read(path, before)
    names = settings.get("insecure-registries", [])
    if not isinstance(names, list):
        refuse(f"insecure-registries in {path} is no list")
    settings["insecure-registries"] = [*names, p["network"]] if p["network"] not in names else names
    write(path, (json.dumps(settings, indent=2) + "\n").encode())
    said = reload_engine(p["unit"])
    ends = time.monotonic() + WAIT_S
    while not said and time.monotonic() < ends:
        if network_is_open(p["network"]):
            return {"changed": True}
        time.sleep(POLL_S)
    if before is None:
        path.unlink()
    else:
        write(path, before)
    reload_engine(p["unit"])
    odd = f"the Engine does not take up {p['network']}: is it started with --insecure-registry? {path} is as before"
    return refuse(said or odd)


def read(path: Path, content: bytes | None) -> Dict[str, Any]:  # noqa: UP006
    """Return the Engine's settings; a file that is no JSON object is its owner's to mend."""
    try:
        found = json.loads(content) if content and content.strip() else {}
    except ValueError as error:
        refuse(f"{path} is no JSON: {error}")
    if not isinstance(found, dict):
        refuse(f"{path} holds no JSON object")
    return found


def network_is_open(network: str) -> bool:
    """Whether the Engine, as it runs, counts the network among those without TLS."""
    words = ["docker", "info", "--format", "{{json .RegistryConfig.InsecureRegistryCIDRs}}"]
    done = subprocess.run(words, capture_output=True, timeout=ASK_S, check=False)
    try:
        return done.returncode == 0 and network in (json.loads(done.stdout.decode()) or [])
    except ValueError:
        return False


def reload_engine(unit: str) -> str:
    """Have the Engine read its settings again; return why that failed."""
    if Path("/run/systemd/system").is_dir():
        words = ["systemctl", "reload", unit]
    else:
        words = ["kill", "-HUP", Path("/var/run/docker.pid").read_text(encoding="ascii").strip()]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=ASK_S, check=False)
    return "" if done.returncode == 0 else f"{' '.join(words)}: {done.stdout.decode('utf-8', 'replace').strip()}"


def write(path: Path, content: bytes) -> None:
    """Put ``content`` there whole, with the mode that the file had."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    with temporary.open("xb") as file:
        file.write(content)
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    temporary.replace(path)


def refuse(reason: str) -> NoReturn:
    """End with one sentence."""
    sys.stderr.write(reason + "\n")
    sys.exit(3)


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
