"""What a robot that pulls, or reports to a hub, is told by `fleet bootstrap` or its enrolment: ``pull.json``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from runtime.contract.codec import SCHEMA
from runtime.contract.json_decoder import ContractError, Limits

#: Below the robot's own folder, root's alone.
PULL_FILE, HUB_CA_FILE = "pull.json", "hub-ca.pem"
LIMITS = Limits(size=64 * 1024, depth=3, values=50, text=8 * 1024)
#: Host keys that sign reports, the first that the robot has. `fleet` pins the same one.
HOST_KEYS = ("etc/ssh/ssh_host_ed25519_key", "etc/ssh/ssh_host_ecdsa_key", "etc/ssh/ssh_host_rsa_key")
PULL, SSH = "pull", "ssh"
_URL = re.compile(r"https?://[^/\s?#@]+(/[^\s?#]*)?")


@dataclass(frozen=True)
class PullSettings:
    """No secret is in it: who the robot is at the registry lies where the registry's login lies."""

    fleet: str
    robot: str
    registry: str
    """``https://registry.example:5000``; ``http://`` where the manifest says that there is no TLS."""
    prefix: str
    """Of the fleet's repositories."""
    link: str = PULL
    """``pull`` | ``ssh``: it only reports."""
    poll_s: float = 60.0
    report_s: float = 300.0
    hub: str = ""
    """``https://hub.example:8443``; empty: it reports to none."""
    hub_ca: str = ""
    """Path of a PEM bundle on the robot, added to the machine's authorities; empty: those alone."""
    host_key: str = ""
    """Path of the key that signs reports; empty: the first of :data:`HOST_KEYS`."""
    schema: int = SCHEMA


def check_settings(settings: PullSettings) -> PullSettings:
    """Return the settings. Raises ContractError for what can mean nothing."""
    for name, value in (("registry", settings.registry), ("hub", settings.hub)):
        if (value or name == "registry") and not _URL.fullmatch(value):
            raise ContractError("PullSettings.{}: {!r} is no http:// or https:// address".format(name, value[:80]))
    if settings.link not in (PULL, SSH):
        raise ContractError("PullSettings.link: {!r} is neither pull nor ssh".format(settings.link[:40]))
    if not (1.0 <= settings.poll_s <= 86400.0 and 1.0 <= settings.report_s <= 86400.0):
        raise ContractError("PullSettings: poll_s and report_s are from one second to a day")
    if not (settings.fleet and settings.robot and settings.prefix):
        raise ContractError("PullSettings: fleet, robot and prefix are names")
    return settings
