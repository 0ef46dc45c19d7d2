"""Containers and volumes of the lab: the registry and the robots. Everything carries the lab's label and prefix."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker import DockerClient
from docker.errors import APIError, NotFound
from docker.models.containers import Container

from fleetbox.keys import ssh_files
from fleetbox.spec import REGISTRY_PORT, LabError, LabSpec, RobotSpec

LABEL_LAB = "jetfleet-lab"
LABEL_SPEC = "jetfleet-lab.spec"
LABEL_HOME = "jetfleet-lab.home"

CGROUP = "/jetfleet-lab"
"""Parent of the robots' control groups, where the Engine makes them itself (cgroupfs). In the Engine's own one all
robots together weigh as much as one process of this machine, and stand still as soon as some of those compute."""
ROBOT_SHM = 512 * 1024 * 1024
"""Bytes of /dev/shm; Docker's 64 MB default is soon full of images."""


@dataclass(frozen=True)
class KeptState:
    """What a robot had on its disks at one time, to begin from again; nobody writes to it."""

    name: str
    """Prefix of its two volumes, and its folder on a robot."""

    @property
    def folder(self) -> str:
        """Where a robot has it."""
        return f"/states/{self.name}"

    @property
    def docker_volume(self) -> str:
        """Name of the volume of what was /var/lib/docker."""
        return f"{self.name}-docker"

    @property
    def state_volume(self) -> str:
        """Name of the volume of what was /var/lib/jetfleet."""
        return f"{self.name}-state"

    def mounts(self) -> tuple[tuple[str, str], ...]:
        """Return (volume, path on a robot)."""
        return (self.docker_volume, f"{self.folder}/docker"), (self.state_volume, f"{self.folder}/jetfleet")


def labels(spec: LabSpec) -> dict[str, str]:
    """Return what everything of this lab carries."""
    return {LABEL_LAB: spec.name, LABEL_HOME: str(spec.home)}


def find(client: DockerClient, name: str) -> Container | None:
    """Return the container of that name, or None."""
    try:
        return client.containers.get(name)
    except NotFound:
        return None


def refuse_foreign(client: DockerClient, spec: LabSpec) -> None:
    """Raise LabError when a lab of the same name belongs to another checkout that still exists."""
    for container in client.containers.list(
        all=True, filters={"label": f"{LABEL_LAB}={spec.name}"}, ignore_removed=True
    ):
        home = container.labels.get(LABEL_HOME, "")
        if home == str(spec.home):
            continue
        if Path(home).is_dir():
            raise LabError(
                f"the lab {spec.name!r} was brought up by another checkout: {Path(home).parent}",
                "run `make lab-down` (here or there), or give this lab its own JETFLEET_LAB_NAME, "
                "JETFLEET_LAB_SUBNET and JETFLEET_LAB_REGISTRY_PORT",
            )
        remove_everything(client, spec)  # its checkout is gone, and its keys with it
        return


@dataclass(frozen=True)
class Wanted:
    """One container as it is to be."""

    name: str
    image: str
    address: str
    config: dict[str, Any]
    volumes: tuple[str, ...]
    files: bytes = b""
    """A tar put at / before the first start."""

    def fingerprint(self) -> str:
        """Return a digest over all that a container is made from: with another digest it has to be made again."""
        parts = json.dumps([self.image, self.address, self.config], sort_keys=True, default=str).encode()
        return hashlib.sha256(parts + self.files).hexdigest()[:16]


def ensure_registry(client: DockerClient, spec: LabSpec, image: str) -> Container:
    """Make and start the registry; what it stores outlives the container."""
    host_config = client.api.create_host_config(
        binds={spec.registry_volume: {"bind": "/var/lib/registry", "mode": "rw"}},
        port_bindings={} if spec.own_registry else {REGISTRY_PORT: ("127.0.0.1", spec.published_port)},
    )
    address = spec.registry_address.partition(":")[0]
    config = {"ports": [REGISTRY_PORT], "host_config": host_config, "stop_signal": "SIGTERM"}
    return _ensure(client, spec, Wanted(spec.registry_container, image, address, config, (spec.registry_volume,)))


def ensure_robot(
    client: DockerClient,
    spec: LabSpec,
    robot: RobotSpec,
    image: str,
    states: Sequence[KeptState] = (),
    *,
    systemd: bool = False,
) -> Container:
    """Make and start one robot; /var/lib/docker and /var/lib/jetfleet outlive the container.

    ``systemd``: the image's first process is one, which has needs of its own.

    With ``states``, a robot whose volumes are empty begins as the last of them; those before are what it stands on.
    """
    host_config = client.api.create_host_config(
        binds={
            "/sys/fs/cgroup": {"bind": "/sys/fs/cgroup", "mode": "rw"},
            robot.docker_volume: {"bind": "/var/lib/docker", "mode": "rw"},
            robot.state_volume: {"bind": "/var/lib/jetfleet", "mode": "rw"},
            **{volume: {"bind": path, "mode": "ro"} for state in states for volume, path in state.mounts()},
        },
        # A container Engine inside a container. Not --privileged: hosts without CAP_SYS_RESOURCE refuse that.
        cap_add=["ALL"],
        cap_drop=["SYS_RESOURCE"],
        security_opt=["seccomp=unconfined", "apparmor=unconfined"],
        tmpfs={"/run": "", "/tmp": "exec", **({"/run/lock": ""} if systemd else {})},  # noqa: S108 - inside the robot
        shm_size=ROBOT_SHM,
    )
    own_cgroup = client.info().get("CgroupDriver") == "cgroupfs"
    if own_cgroup:
        host_config["CgroupParent"] = CGROUP
    # What the command line calls --security-opt systempaths=unconfined.
    host_config["MaskedPaths"] = []
    host_config["ReadonlyPaths"] = []
    config = {
        "hostname": robot.name,
        "environment": {
            "JETFLEET_LAB_REGISTRIES": ",".join(spec.registries),
            "JETFLEET_LAB_STATE": states[-1].folder if states else "",
            "JETFLEET_LAB_CGROUP": CGROUP if own_cgroup else "",
            "JETFLEET_CAMERA_RATE": f"{spec.camera_hz:g}",
            **({"container": "docker"} if systemd else {}),
        },
        "host_config": host_config,
        "stop_signal": "SIGRTMIN+3" if systemd else "SIGTERM",
    }
    volumes = (robot.docker_volume, robot.state_volume)
    return _ensure(client, spec, Wanted(robot.container, image, robot.address, config, volumes, ssh_files(spec, robot)))


def remove_everything(client: DockerClient, spec: LabSpec) -> int:
    """Remove all containers, volumes and the network of this lab, whoever brought it up; return how many."""
    removed = 0
    mine: dict[str, str | list[str] | bool] = {"label": f"{LABEL_LAB}={spec.name}"}
    for container in client.containers.list(all=True, filters=mine, ignore_removed=True):
        container.remove(force=True, v=True)
        removed += 1
    for volume in client.volumes.list(filters=mine):
        volume.remove()
        removed += 1
    for network in client.networks.list(filters=mine):
        network.remove()
        removed += 1
    return removed


def remove_robots(client: DockerClient, spec: LabSpec) -> int:
    """Remove the robots with their volumes; registry and network stay. Return how many robots there were."""
    found = [container for robot in spec.robots if (container := find(client, robot.container)) is not None]
    for container in found:
        container.remove(force=True, v=True)
    names = {name for robot in spec.robots for name in (robot.docker_volume, robot.state_volume)}
    for volume in client.volumes.list(filters={"label": f"{LABEL_LAB}={spec.name}"}):
        if volume.name in names:
            volume.remove()
    return len(found)


def remove_registry(client: DockerClient, spec: LabSpec) -> None:
    """Remove the registry and what it stores, if it is there."""
    container = find(client, spec.registry_container)
    if container is not None:
        container.remove(force=True)
    remove_volumes(client, [spec.registry_volume])


def remove_robot(client: DockerClient, robot: RobotSpec) -> None:
    """Remove one robot with its volumes, if it is there."""
    container = find(client, robot.container)
    if container is not None:
        container.remove(force=True)
    remove_volumes(client, [robot.docker_volume, robot.state_volume])


def remove_volumes(client: DockerClient, names: Sequence[str]) -> None:
    """Remove those of the volumes that are there."""
    there = {str(volume.name): volume for volume in client.volumes.list()}
    for name in names:
        if name in there:
            there[name].remove()


def bays_in_use(client: DockerClient, spec: LabSpec) -> set[int]:
    """Return the bays of which there are containers."""
    listed = client.containers.list(
        all=True, filters={"label": f"{LABEL_LAB}={spec.name}"}, ignore_removed=True, sparse=True
    )
    names = [str(name).lstrip("/") for container in listed for name in container.attrs["Names"]]
    found = [re.match(rf"{re.escape(spec.name)}-b(\d+)-", name) for name in names]
    return {int(match[1]) for match in found if match}


def remove_images(client: DockerClient, keep: set[str]) -> None:
    """Remove the lab's images of earlier contents; those still used by a container stay."""
    for image in client.api.images(filters={"reference": "jetfleet-lab/r*"}):
        if not keep.intersection(image["RepoTags"] or ()):
            try:
                client.images.remove(str(image["Id"]))
            except APIError as error:
                if error.status_code not in (404, 409):  # gone meanwhile; used by another lab's container
                    raise


def _ensure(client: DockerClient, spec: LabSpec, wanted: Wanted) -> Container:
    container = find(client, wanted.name)
    if container is not None and container.labels.get(LABEL_SPEC) != wanted.fingerprint():
        container.remove(force=True)
        container = None
    if container is None:
        for volume in wanted.volumes:
            client.volumes.create(volume, labels=labels(spec))
        container = _create(client, spec, wanted)
    if container.status != "running":
        _start(container, spec)
    return container


def _create(client: DockerClient, spec: LabSpec, wanted: Wanted) -> Container:
    endpoint = client.api.create_endpoint_config(ipv4_address=wanted.address)
    made = client.api.create_container(
        wanted.image,
        name=wanted.name,
        networking_config={"EndpointsConfig": {spec.network: endpoint}},
        labels={**labels(spec), LABEL_SPEC: wanted.fingerprint()},
        **wanted.config,
    )
    container = client.containers.get(made["Id"])
    if wanted.files and not container.put_archive("/", wanted.files):
        container.remove(force=True)
        raise LabError(f"could not copy SSH keys into {wanted.name}")
    return container


def _start(container: Container, spec: LabSpec) -> None:
    try:
        container.start()
    except APIError as error:
        text = str(error.explanation)
        if "port is already allocated" in text or "address already in use" in text:
            raise LabError(
                f"port {spec.published_port} of 127.0.0.1 is taken (the registry wants it): {text}",
                "set JETFLEET_LAB_REGISTRY_PORT to a free port",
            ) from error
        raise LabError(
            f"{container.name} does not start: {text}", "see docs/lab.md, “When it does not start”"
        ) from error
