"""A robot's fetch is a registry on 127.0.0.1, which Docker 29.10 asks by TLS once others are named insecure."""

from __future__ import annotations

from pathlib import Path

from fleet.errors import RobotError
from fleet.link.remote_python import answer_of, run_program, words_of
from fleet.ports import RobotAddress, RobotShell

LOOPBACK, SETTINGS, UNIT = "127.0.0.0/8", "/etc/docker/daemon.json", "docker.service"


def open_loopback_of(robot: RobotAddress, shell: RobotShell, *, as_root: bool) -> bool:
    """Add 127.0.0.0/8 to the Engine's insecure-registries; return whether it changed anything. Raises RobotError."""
    program = Path(__file__).with_name("remote_loopback.py")
    parameters = {"file": SETTINGS, "network": LOOPBACK, "unit": UNIT}
    result = run_program(shell, program, parameters, as_root=as_root, timeout_s=120.0)
    if result.exit_code != 0:
        raise RobotError(
            robot.name,
            f"its Engine's settings cannot be changed: {words_of(result)}",
            hint=f"at the robot: add {LOOPBACK} to insecure-registries in {SETTINGS}; sudo systemctl reload docker",
        )
    return bool(answer_of(robot.name, result, "the change of its Engine's settings").get("changed"))
