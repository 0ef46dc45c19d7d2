"""The lab as tests and the demo see it: where everything is, and what can be done to it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fleetbox import containers, keys
from fleetbox.faults import SERVICES, Faults
from fleetbox.lab import Lab, Output
from fleetbox.spec import USER

ACCESS = re.compile(r'"(GET|HEAD|POST|PUT|PATCH|DELETE) /v2/')
"""A line of the registry's access log."""


class RunningLab(Faults):
    """A lab that is up."""

    user: str = USER
    """Login on every robot; may use sudo without a password, and Docker."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab)
        self.lab = lab
        spec = lab.spec
        self.registry: str = spec.registry_address
        """``host:port`` of the OCI registry, plain HTTP, from this machine and from the robots."""
        self.robots: dict[str, str] = {robot.name: robot.address for robot in spec.robots}
        """Name → address."""
        self.key: Path = spec.key
        """Private SSH key that every robot accepts for ``user``."""
        self.known_hosts: Path = keys.known_hosts(spec)
        """The robots' true host keys."""

    def exec(self, robot: str, argv: Sequence[str], *, user: str = "root", deadline_s: float = 60) -> Output:
        """Run a command inside the robot, past SSH; exit code 124 past the deadline."""
        return self.lab.exec(robot, argv, user=user, deadline_s=deadline_s)

    def ask_updater(self, robot: str, verb: str) -> dict[str, Any] | None:
        """Ask the robot's updater through its socket; None while it does not answer. To be asked often."""
        return self.lab.ask_updater(robot, verb)

    def ssh(self, robot: str, command: str, *, deadline_s: float = 30) -> Output:
        """Run a shell command over SSH with OpenSSH's own client; exit code 255 when the connection failed."""
        return self.lab.ssh(robot, command, deadline_s=deadline_s)

    def camera(self, robot: str, count: int = 1, deadline_s: float = 20) -> dict[str, Any]:
        """Receive images inside the robot; see Lab.camera."""
        return self.lab.camera(robot, count, deadline_s)

    def registry_requests(self) -> list[str]:
        """Return the registry's access log so far, a line a request: tests count in it."""
        log = self._registry().logs(stdout=True, stderr=True).decode(errors="replace")
        return [line for line in log.splitlines() if ACCESS.search(line)]

    def repair(self) -> None:
        """Undo every break, whatever it was, and wait until all is well; quick when nothing is broken."""
        registry = self._registry()
        if registry.status != "running":
            registry.start()
        self.lab.wait_registry()
        for robot in self.robots:
            if containers.find(self.lab.client, self.lab.robot(robot).container) is not None:
                self.lab.wait_robot(robot, camera=self._mend_robot(robot))

    def _mend_robot(self, robot: str) -> bool:
        """Return whether something had to be repaired whose effect the camera would show."""
        was_off = self.lab.container(robot).status != "running"
        if was_off:
            self.lab.container(robot).start()
        self.restore_link(robot)
        if "lab-small-disk" in self.exec(robot, ["cat", "/proc/mounts"]).check():
            self.restore_disk(robot)
        held = self.exec(robot, ["sh", "-c", "ls /run/jetfleet-lab/*.hold 2>/dev/null || true"]).check()
        for service in SERVICES:
            if f"/{service}.hold" in held:
                self.start_service(robot, service)
        return was_off or "camera" in held
