"""What robots are told of registry and hub: the manifest's ``link``, ``pull`` and ``hub`` as a robot reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fleet.errors import UsageError
from fleet.resolve.desired import Desired, DesiredRobot
from runtime.contract.robot.pull_settings import PullSettings


@dataclass(frozen=True, slots=True)
class PullSetup:
    """For one robot. No secret is in it."""

    settings: PullSettings | None
    """None: it neither pulls nor reports."""
    authority: bytes | None = None
    """PEM of the hub's authority; None: robots trust what their machine trusts."""


def pull_setup(desired: Desired, robot: DesiredRobot, authority: bytes | None) -> PullSetup:
    """Return what the robot is told. Robots that SSH reaches report, too, where the manifest names a hub."""
    if desired.hub is None:
        return PullSetup(None)
    registry = desired.registry
    scheme = "http" if registry.plain_http else "https"
    settings = PullSettings(
        fleet=desired.fleet,
        robot=robot.name,
        registry=f"{scheme}://{registry.host}",
        prefix=registry.prefix,
        link=robot.link,
        poll_s=desired.pull.poll,
        report_s=desired.pull.report,
        hub=desired.hub.url,
    )
    return PullSetup(settings, authority)


def hub_authority(desired: Desired) -> bytes | None:
    """Read the hub's authority; None without one. Raises UsageError."""
    if desired.hub is None or desired.hub.ca_file is None:
        return None
    try:
        return Path(desired.hub.ca_file).read_bytes()
    except OSError as error:
        raise UsageError(
            f"{desired.hub.ca_file} cannot be read: {error.strerror or error}", hint="correct hub/ca_file"
        ) from error
