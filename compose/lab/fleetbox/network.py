"""The lab's Docker network."""

from __future__ import annotations

import ipaddress
import json
import subprocess
from typing import Any

from docker import DockerClient
from docker.errors import NotFound
from docker.types import IPAMConfig, IPAMPool

from fleetbox.spec import LabError, LabSpec

CHOOSE_ANOTHER = "set JETFLEET_LAB_SUBNET to a free network, for example 172.31.77.0/24"


def ensure_network(client: DockerClient, spec: LabSpec, labels: dict[str, str]) -> None:
    """Make the network; LabError names the network or route that has its addresses already."""
    try:
        existing = client.networks.get(spec.network)
    except NotFound:
        existing = None
    if existing is not None:
        if spec.subnet in _subnets(existing.attrs):
            return
        raise LabError(
            f"Docker network {spec.network} exists with {', '.join(map(str, _subnets(existing.attrs)))}, "
            f"not with {spec.subnet}",
            "run `make lab-down`, or unset JETFLEET_LAB_SUBNET",
        )
    _refuse_overlap(client, spec)
    pool = IPAMPool(subnet=str(spec.subnet), gateway=spec.address(1))
    ipam = IPAMConfig(pool_configs=[pool])
    client.networks.create(spec.network, driver="bridge", ipam=ipam, labels=labels, check_duplicate=True)


def _refuse_overlap(client: DockerClient, spec: LabSpec) -> None:
    for network in client.networks.list():
        for subnet in _subnets(network.attrs):
            if subnet.overlaps(spec.subnet):
                raise LabError(
                    f"{spec.subnet} overlaps with Docker network {network.name!r} ({subnet})", CHOOSE_ANOTHER
                )
    for destination, device in _routes():
        if destination.overlaps(spec.subnet):
            raise LabError(
                f"{spec.subnet} overlaps with this machine's route {destination} on {device}", CHOOSE_ANOTHER
            )


def _subnets(attributes: dict[str, Any]) -> list[ipaddress.IPv4Network]:
    configs = (attributes.get("IPAM") or {}).get("Config") or []
    texts = [config["Subnet"] for config in configs if ":" not in config.get("Subnet", ":")]
    return [ipaddress.IPv4Network(text) for text in texts]


def _routes() -> list[tuple[ipaddress.IPv4Network, str]]:
    """Return this machine's routes but the default one (everything overlaps with that)."""
    done = subprocess.run(["ip", "-json", "-4", "route"], capture_output=True, text=True, timeout=10, check=False)
    if done.returncode != 0:
        raise LabError(f"`ip route` failed: {done.stderr.strip()}")
    routes = [(entry["dst"], entry.get("dev", "?")) for entry in json.loads(done.stdout or "[]")]
    return [(ipaddress.IPv4Network(dst, strict=False), device) for dst, device in routes if dst[0].isdigit()]
