"""What the lab consists of: names, addresses, files. Pure values; nothing here talks to Docker."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PREFIX = "jetfleet-lab"
BASE_IMAGE = "jetfleet-lab/debian:bookworm"
REGISTRY_PORT = 5000
USER = "jetson"
ROBOT_HOSTS = {"amr-001": 11, "amr-002": 12, "scout-001": 13}
REGISTRY_HOST = 2
BAY_HOSTS = 16
"""Addresses of one bay. Bay 0 is the lab that a person brings up; tests take bays from 1 on."""


class LabError(Exception):
    """The lab could not do something: what, and what to do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True)
class RobotSpec:
    """One simulated robot."""

    name: str
    address: str
    container: str

    @property
    def docker_volume(self) -> str:
        """Name of the volume behind /var/lib/docker."""
        return f"{self.container}-docker"

    @property
    def state_volume(self) -> str:
        """Name of the volume behind /var/lib/jetfleet."""
        return f"{self.container}-state"


@dataclass(frozen=True)
class LabSpec:
    """Names and addresses of one lab. Two labs live side by side when name, subnet and port differ."""

    name: str
    subnet: ipaddress.IPv4Network
    published_port: int
    home: Path
    """Folder of keys, wheels and logs (`.lab` of this checkout)."""
    bay: int = 0
    """Which set of robots: each has all names, under its own addresses, containers and volumes."""
    own_registry: bool = False
    """Whether "the registry" is the bay's own, which may be broken, or the lab's, which all bays share."""
    camera_hz: float = 5.0
    """Frames per second of each robot's camera: each costs some 30 ms of a processor, most of it inference."""

    @classmethod
    def from_environment(cls) -> LabSpec:
        """Read JETFLEET_LAB_NAME, JETFLEET_LAB_SUBNET, JETFLEET_LAB_REGISTRY_PORT; LabError names the bad one."""
        name = os.environ.get("JETFLEET_LAB_NAME", PREFIX)
        if name != PREFIX and not name.startswith(f"{PREFIX}-"):
            raise LabError(f"JETFLEET_LAB_NAME={name!r} must be {PREFIX!r} or start with '{PREFIX}-'")
        subnet_text = os.environ.get("JETFLEET_LAB_SUBNET", "172.30.77.0/24")
        port_text = os.environ.get("JETFLEET_LAB_REGISTRY_PORT", "5077")
        try:
            subnet = ipaddress.IPv4Network(subnet_text)
        except ValueError as error:
            raise LabError(f"JETFLEET_LAB_SUBNET={subnet_text!r} is no IPv4 network: {error}") from error
        if subnet.num_addresses < 32:
            raise LabError(f"JETFLEET_LAB_SUBNET={subnet_text!r} is too small", "give a /27 or larger")
        if not port_text.isdecimal() or not 0 < int(port_text) < 65536:
            raise LabError(f"JETFLEET_LAB_REGISTRY_PORT={port_text!r} is no TCP port")
        return cls(name, subnet, int(port_text), ROOT / ".lab")

    def in_bay(self, bay: int, *, own_registry: bool = False) -> LabSpec:
        """Return the same lab as one bay has it. LabError when the subnet has no addresses for it."""
        if BAY_HOSTS * (bay + 1) > self.subnet.num_addresses:
            raise LabError(
                f"{self.subnet} has no room for bay {bay}", f"each takes {BAY_HOSTS} addresses: set JETFLEET_LAB_SUBNET"
            )
        return replace(self, bay=bay, own_registry=own_registry)

    @property
    def place(self) -> str:
        """What the names of the bay's containers and volumes begin with."""
        return self.name if self.bay == 0 else f"{self.name}-b{self.bay}"

    @property
    def network(self) -> str:
        """Name of the Docker network."""
        return self.name

    @property
    def registry_container(self) -> str:
        """Name of the registry's container."""
        return f"{self.place if self.own_registry else self.name}-registry"

    @property
    def registry_volume(self) -> str:
        """Name of the volume behind the registry's storage."""
        return f"{self.registry_container}-data"

    @property
    def registry_address(self) -> str:
        """``host:port`` as image references carry it."""
        return f"{self.address(REGISTRY_HOST + (BAY_HOSTS * self.bay if self.own_registry else 0))}:{REGISTRY_PORT}"

    @property
    def registries(self) -> tuple[str, ...]:
        """``host:port`` of every registry that a robot of this bay may use."""
        both = (replace(self, own_registry=own).registry_address for own in (False, True))
        return tuple(dict.fromkeys(both))

    @property
    def robots(self) -> tuple[RobotSpec, ...]:
        """All robots, in order of their addresses."""
        first = BAY_HOSTS * self.bay
        return tuple(
            RobotSpec(name, self.address(first + host), f"{self.place}-{name}") for name, host in ROBOT_HOSTS.items()
        )

    @property
    def key(self) -> Path:
        """Private SSH key of the operator."""
        return self.home / "id_ed25519"

    def address(self, host: int) -> str:
        """Return the address of the n-th host of the subnet."""
        return str(self.subnet.network_address + host)
