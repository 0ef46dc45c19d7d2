"""What the compose files of a robot deny its container, for every profile: the Jetson's overlay takes nothing back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from fleet.publish.publish import compose_names
from tests.fakes.registries.publishing import PROFILE

COMPOSE = Path(__file__).parents[3] / "compose"
DENIED = {
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "read_only": True,
    "tmpfs": ["/tmp:size=64m,mode=1777"],
    "pids_limit": 512,
}
JETSON = PROFILE.model_copy(update={"module": "p3767-0003"})
#: Where a container may write on the host. No socket of Docker's, none of the updater's.
WRITABLE = {"/run/jetfleet/node"}


def rendered(names: tuple[str, ...]) -> dict[str, Any]:
    """The service `runtime` as Compose merges it: lists are joined, mappings merged, all else is the last one's."""
    service: dict[str, Any] = {}
    for name in names:
        layer = yaml.safe_load((COMPOSE / name).read_text())["services"]["runtime"]
        for key, value in layer.items():
            before = service.get(key)
            if isinstance(before, list) and isinstance(value, list):
                service[key] = before + value
            elif isinstance(before, dict) and isinstance(value, dict):
                service[key] = {**before, **value}
            else:
                service[key] = value
    return service


@pytest.mark.parametrize("profile", [PROFILE, JETSON], ids=["sim", "jetson"])
def test_a_container_is_denied_what_it_does_not_need(profile: Any) -> None:
    service = rendered(compose_names(profile))
    assert {key: service[key] for key in DENIED} == DENIED
    assert service["user"] == "${JETFLEET_UID:-1000}:${JETFLEET_GID:-1000}", "that of cameras: Fast DDS's shared memory"
    assert not {"privileged", "cap_add", "devices", "pid", "userns_mode", "cgroup_parent", "sysctls"} & service.keys()
    assert (service["network_mode"], service["ipc"]) == ("host", "host")


@pytest.mark.parametrize("profile", [PROFILE, JETSON], ids=["sim", "jetson"])
def test_it_writes_nothing_of_the_host_but_a_folder_of_its_own(profile: Any) -> None:
    volumes = rendered(compose_names(profile))["volumes"]
    assert volumes[0] == "${JETFLEET_HOST_NODE_DIR:-/run/jetfleet/node}:/run/jetfleet/node"
    targets = {volume.removesuffix(":ro").rpartition(":")[2]: volume.endswith(":ro") for volume in volumes}
    assert {target for target, read_only in targets.items() if not read_only} == WRITABLE
    assert not any("docker.sock" in volume or "updater.sock" in volume for volume in volumes)


def test_a_tensorrt_profile_has_nvidia_s_runtime_under_the_same_rules() -> None:
    service = rendered(compose_names(JETSON))
    assert service["runtime"] == "nvidia"
    assert service["group_add"] == ["${GPU_GID:-44}"], "its devices are another group's, and no capability opens them"
    assert "runtime" not in rendered(compose_names(PROFILE))
