"""Look at a machine before it is a robot: everything that is missing on it, with the command for each."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.bootstrap import device_probe, host_facts
from fleet.bootstrap.device_check import device_notes, device_problems
from fleet.bootstrap.device_probe import DeviceReport, device_from_probe
from fleet.bootstrap.host_facts import HostFacts, facts_from_probe, host_notes, host_problems
from fleet.errors import RobotError
from fleet.link.host_docker import HostProblem
from fleet.manifest.schema.manifest_schema import Profile
from fleet.ports import Clock, RobotShell

_HOST_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found on one machine."""

    host: HostFacts
    device: DeviceReport
    problems: tuple[HostProblem, ...]
    notes: tuple[str, ...]


def look(robot: str, user: str, shell: RobotShell, clock: Clock) -> tuple[HostFacts, DeviceReport]:
    """Ask a machine what it is; changes nothing there. Raises RobotError when it cannot be asked."""
    asked = shell.run(["sh", "-c", host_facts.PROBE], timeout_s=_HOST_TIMEOUT_S)
    host = facts_from_probe(asked.stdout, user, clock.now())
    said = shell.run(["sh", "-c", device_probe.PROBE], timeout_s=device_probe.TIMEOUT_S)
    device = device_from_probe(said.stdout)
    if not (host.complete and device.complete):
        raise RobotError(
            robot, "its host cannot be looked at: sh does not run there", hint=f"ssh to {robot} and try sh"
        )
    return host, device


def examine(
    robot: str, user: str, shell: RobotShell, clock: Clock, profile: Profile, power_mode: str | None
) -> Examination:
    """Look at a machine and hold it against what is needed and its profile. Raises RobotError."""
    host, device = look(robot, user, shell, clock)
    # After bootstrap the login is root no more, and need not be: the updater does what is signed.
    judges = bool(host.updater_version) and not host.root
    problems = (*host_problems(host, judges=judges), *device_problems(device, profile, power_mode))
    return Examination(host, device, problems, (*host_notes(host), *device_notes(device, profile)))
