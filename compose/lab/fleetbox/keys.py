"""SSH keys of the lab, made once and kept in `.lab`: a robot that is made again keeps its host key."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

from fleetbox.spec import PREFIX, LabError, LabSpec, RobotSpec

ROBOT_UID = 1000


def ensure_keys(spec: LabSpec) -> None:
    """Make the operator's key, each robot's host key and a known_hosts file, where they are missing."""
    _ensure_key(spec.key, "jetfleet-lab operator")
    lines = []
    for robot in spec.robots:
        key = host_key(spec, robot)
        _ensure_key(key, f"{robot.name} host key")
        kind, public, *_ = key.with_suffix(".pub").read_text().split()
        lines.append(f"{robot.address} {kind} {public}\n")
    known_hosts(spec).write_text("".join(lines))


def known_hosts(spec: LabSpec) -> Path:
    """Return the file of host keys as the lab made them."""
    return spec.home / ("known_hosts" if spec.place == PREFIX else f"known_hosts-{spec.place}")


def host_key(spec: LabSpec, robot: RobotSpec) -> Path:
    """Return the private host key that the robot's sshd gets."""
    return spec.home / "hostkeys" / robot.name


def ssh_files(spec: LabSpec, robot: RobotSpec) -> bytes:
    """Return a tar, rooted at /, with the robot's host key and the operator's key as authorized."""
    key = host_key(spec, robot)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        _add(archive, "etc/ssh/ssh_host_ed25519_key", key.read_bytes(), 0o600, 0)
        _add(archive, "etc/ssh/ssh_host_ed25519_key.pub", key.with_suffix(".pub").read_bytes(), 0o644, 0)
        authorized = spec.key.with_suffix(".pub").read_bytes()
        _add(archive, "home/jetson/.ssh/authorized_keys", authorized, 0o600, ROBOT_UID)
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, data: bytes, mode: int, uid: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.uid, info.gid = len(data), mode, uid, uid
    archive.addfile(info, io.BytesIO(data))


def _ensure_key(path: Path, comment: str) -> None:
    if path.is_file() and path.with_suffix(".pub").is_file():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
    except FileNotFoundError as error:
        raise LabError("ssh-keygen is missing", "run `make setup` (package openssh-client)") from error
    except subprocess.CalledProcessError as error:
        raise LabError(f"ssh-keygen could not make {path}: {error.stderr.strip()}") from error
