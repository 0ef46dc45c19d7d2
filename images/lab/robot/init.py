#!/usr/bin/env python3
"""First program of a lab robot (below tini, which reaps): starts the robot's services and restarts those that end.

It stands in for systemd: sshd, the robot's own Docker Engine, the camera, and `fleet-updater serve` once somebody
has installed it. `jetfleet-lab-init` runs it; SIGTERM stops everything in reverse order. A robot with empty disks
begins from the state that JETFLEET_LAB_STATE names, if it does (`fleetbox/bay.py`); `jetfleet-lab-init --keep`, run on
a robot, makes its disks fit for that.
Each service writes to /var/log/jetfleet-lab/NAME.log and leaves its process id in /run/jetfleet-lab/NAME.pid.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

DOCKER_BRIDGE = Path("/sys/class/net/docker0")
"""Fast DDS takes two processes for one host, and uses shared memory between them, only when both saw the same network
addresses at their start. A camera that is up before the Engine's bridge sends its frames to the executor over UDP, and
most of them are lost."""
UPDATER = Path("/var/lib/jetfleet/updater/fleet-updater.pyz")
LOGS = Path("/var/log/jetfleet-lab")
PIDS = Path("/run/jetfleet-lab")
DISKS = {"docker": Path("/var/lib/docker"), "jetfleet": Path("/var/lib/jetfleet")}
COMMAND, KEPT_COMMAND = Path("/usr/local/bin/fleet-updater"), Path("/var/lib/docker/jetfleet-lab/fleet-updater")
"""The one file of a bootstrapped robot that lies on neither disk, and where it is kept with them."""
CGROUPS = Path("/sys/fs/cgroup")
WEIGHT = 8
"""What all robots of this machine may compute, against one process of it, when both want to."""
POLL_S = 0.1
STOP_DEADLINE_S = 8.0
FIRST_DELAY_S, MAX_DELAY_S = 0.5, 10.0
STEADY_S = 10.0
"""A service that ran this long was well: its next restart is prompt again."""


@dataclass
class Service:
    """One program that is to run, and how its runs went."""

    name: str
    argv: list[str]
    uid: int = 0
    environment: dict[str, str] = field(default_factory=dict)
    needs: Path | None = None
    """Start only once this file exists."""
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    retry_at: float = 0.0
    delay_s: float = FIRST_DELAY_S

    def poll(self, now: float) -> None:
        """Start it when it is due, take note when it ended."""
        if self.process is not None:
            if self.process.poll() is None:
                return
            self._ended(now)
        if now >= self.retry_at and self._may_run():
            self._start(now)

    def _may_run(self) -> bool:
        """A test keeps a service down with /run/jetfleet-lab/NAME.hold."""
        return (self.needs is None or self.needs.exists()) and not (PIDS / f"{self.name}.hold").exists()

    def stop(self, deadline: float) -> None:
        """SIGTERM, then SIGKILL at the deadline (monotonic seconds)."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            say(f"{self.name} did not stop in time: killed")
            self.process.kill()
            self.process.wait()

    def _start(self, now: float) -> None:
        with (LOGS / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                user=self.uid,
                group=self.uid,
                extra_groups=[],
                env={**base_environment(self.uid), **self.environment},
                cwd="/",
                start_new_session=True,
            )
        self.started_at = now
        (PIDS / f"{self.name}.pid").write_text(f"{self.process.pid}\n")
        say(f"{self.name} started (pid {self.process.pid})")

    def _ended(self, now: float) -> None:
        assert self.process is not None
        if now - self.started_at >= STEADY_S:
            self.delay_s = FIRST_DELAY_S
        say(f"{self.name} ended with {self.process.returncode}; again in {self.delay_s:.1f} s")
        self.process = None
        (PIDS / f"{self.name}.pid").unlink(missing_ok=True)
        self.retry_at = now + self.delay_s
        self.delay_s = min(MAX_DELAY_S, self.delay_s * 2)


def say(text: str) -> None:
    """One line for `docker logs`."""
    print(f"lab-init: {text}", flush=True)


def base_environment(uid: int) -> dict[str, str]:
    """What a login of that user has; nothing of the container's own settings leaks into services."""
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root" if uid == 0 else "/home/jetson",
        "LANG": "C.UTF-8",
    }


def camera_environment() -> dict[str, str]:
    """ROS settings (transport and malloc as large images need them) plus JETFLEET_CAMERA_* and ROS_* as given."""
    given = {k: v for k, v in os.environ.items() if k.startswith(("JETFLEET_CAMERA_", "ROS_"))}
    return {
        "FASTDDS_DEFAULT_PROFILES_FILE": "/opt/camera/fastdds.xml",
        "MALLOC_MMAP_THRESHOLD_": "67108864",
        "MALLOC_TRIM_THRESHOLD_": "268435456",
        "MALLOC_TOP_PAD_": "16777216",
        "ROS_DOMAIN_ID": "0",
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_LOG_DIR": "/tmp/camera-log",  # noqa: S108 - the robot's own tmpfs, one user
        **given,
    }


def services() -> list[Service]:
    """In start order."""
    camera = ["/opt/camera/bin/python", "/opt/camera/camera.py"]
    return [
        Service("sshd", ["/usr/sbin/sshd", "-D", "-e"]),
        Service("dockerd", ["/usr/sbin/dockerd"]),
        Service("camera", camera, 1000, camera_environment(), DOCKER_BRIDGE),
        Service("updater", ["/usr/bin/python3", str(UPDATER), "serve"], needs=UPDATER),
    ]


def begin_from(state: Path) -> None:
    """Fill the disks with a state that was kept, if they are empty: a power cycle later finds them as they are."""
    if any(DISKS["docker"].iterdir()) or any(DISKS["jetfleet"].iterdir()):
        return
    for entry in (state / "jetfleet").iterdir():
        copy(entry, DISKS["jetfleet"] / entry.name)
    kept, disk = state / "docker", DISKS["docker"]
    own = container_layers(kept)
    for entry in kept.iterdir():
        if entry.name != "overlay2":
            copy(entry, disk / entry.name)
    (disk / "overlay2").mkdir(mode=0o710)
    for layer in (kept / "overlay2").iterdir():
        if layer.name == "l" or layer.name in own:
            copy(layer, disk / "overlay2" / layer.name)
        else:
            begin_layer(layer, disk / "overlay2" / layer.name)
    command = disk / "jetfleet-lab" / COMMAND.name
    if command.exists():
        copy(command, COMMAND)


def begin_layer(kept: Path, layer: Path) -> None:
    """Make an image's layer. Nobody writes to its files, so they stay where they are kept; the rest is copied."""
    layer.mkdir(mode=0o700)
    for entry in kept.iterdir():
        if entry.name == "diff" and not entry.is_symlink():
            (layer / "diff").symlink_to(entry)
        else:
            copy(entry, layer / entry.name)


def container_layers(docker: Path) -> set[str]:
    """Return the names of the layers that belong to containers."""
    mounts = (docker / "image" / "overlay2" / "layerdb" / "mounts").glob("*/*-id")
    return {path.read_text().strip() for path in mounts}


def copy(source: Path, target: Path) -> None:
    """Copy a file, a link or a folder with owners, modes and times."""
    subprocess.run(["cp", "--archive", "--no-target-directory", str(source), str(target)], check=True)


def keep() -> None:
    """Put next to the Engine's data what is needed to begin from these disks on another robot."""
    if COMMAND.exists():
        KEPT_COMMAND.parent.mkdir(exist_ok=True)
        copy(COMMAND, KEPT_COMMAND)


def prepare() -> None:
    """Give this robot what a flashed one has: identity, Engine settings, folders that live in RAM."""
    for folder in (LOGS, PIDS, Path("/run/sshd")):
        folder.mkdir(parents=True, exist_ok=True)
    name = os.uname().nodename
    Path("/etc/machine-id").write_text(hashlib.sha256(f"jetfleet-lab {name}".encode()).hexdigest()[:32] + "\n")
    registries = [r for r in os.environ.get("JETFLEET_LAB_REGISTRIES", "").split(",") if r]
    Path("/etc/docker").mkdir(parents=True, exist_ok=True)
    settings: dict[str, object] = {"insecure-registries": registries, "log-opts": {"max-size": "10m", "max-file": "2"}}
    cgroup = os.environ.get("JETFLEET_LAB_CGROUP")
    if cgroup:
        settings["cgroup-parent"] = cgroup
        weigh(cgroup.lstrip("/"))
    Path("/etc/docker/daemon.json").write_text(json.dumps(settings, indent=2) + "\n")


def weigh(cgroup: str) -> None:
    """Give the robots' control group its weight, in whichever version of them this machine has."""
    for file, unit in ((CGROUPS / "cpu" / cgroup / "cpu.shares", 1024), (CGROUPS / cgroup / "cpu.weight", 100)):
        if file.exists():
            file.write_text(f"{WEIGHT * unit}\n")


def prepare_for_systemd() -> None:
    """Prepare a robot whose first process is systemd, which has the container's settings and hands none of them on."""
    for setting in Path("/proc/1/environ").read_bytes().decode().split("\0"):
        name, _, value = setting.partition("=")
        if name.startswith(("JETFLEET_", "ROS_")):
            os.environ[name] = value
    machine_id = Path("/etc/machine-id").read_text()  # systemd has chosen one, and its journal lies under it
    prepare()
    Path("/etc/machine-id").write_text(machine_id)
    settings = {**base_environment(1000), **camera_environment()}
    (PIDS / "camera.env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    state = os.environ.get("JETFLEET_LAB_STATE")
    if state:
        begin_from(Path(state))


def main() -> int:
    """Run until SIGTERM."""
    stopping = False

    def stop(_signum: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    prepare()
    state = os.environ.get("JETFLEET_LAB_STATE")
    if state:
        begin_from(Path(state))
    running = services()
    while not stopping:
        for service in running:
            service.poll(time.monotonic())
        time.sleep(POLL_S)
    say("stopping")
    deadline = time.monotonic() + STOP_DEADLINE_S
    for service in reversed(running):
        service.stop(deadline)
    return 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--keep"]:
        keep()
    elif sys.argv[1:] == ["--prepare"]:
        prepare_for_systemd()
    else:
        sys.exit(main())
