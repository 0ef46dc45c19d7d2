"""What an Engine says of itself, in the words of Engines that were asked (20.10, 28.5 with containerd's store, 29)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runtime.updater.robot.engine_info import images_folder, plain_loopback, runtimes

STORE = [["driver-type", "io.containerd.snapshotter.v1"]]
CLASSIC = [["Backing Filesystem", "extfs"], ["Supports d_type", "true"]]


@pytest.mark.parametrize(
    ("info", "configured", "socket", "folder"),
    [
        ({"DriverStatus": CLASSIC}, None, True, "/mnt/nvme/docker"),
        ({"DriverStatus": None}, None, True, "/mnt/nvme/docker"),
        ({"DriverStatus": STORE}, None, True, "/var/lib/containerd"),
        ({"DriverStatus": STORE}, 'version = 2\nroot = "/mnt/nvme/containerd"\n', True, "/mnt/nvme/containerd"),
        ({"DriverStatus": STORE}, 'disabled_plugins = ["cri"]\n#root = "/var/lib/x"\n', True, "/var/lib/containerd"),
        ({"DriverStatus": STORE}, None, False, "/mnt/nvme/docker/containerd/daemon"),
        (
            {"DriverStatus": STORE, "Containerd": {"Address": "/var/run/docker/containerd/containerd.sock"}},
            None,
            True,
            "/mnt/nvme/docker/containerd/daemon",
        ),
        (
            {"DriverStatus": STORE, "Containerd": {"Address": "/run/containerd/containerd.sock"}},
            None,
            False,
            "/var/lib/containerd",
        ),
    ],
)
def test_images_are_looked_for_where_they_lie(
    info: dict[str, Any], configured: str | None, socket: bool, folder: str, tmp_path: Path
) -> None:
    if configured is not None:
        (tmp_path / "etc/containerd").mkdir(parents=True)
        (tmp_path / "etc/containerd/config.toml").write_text(configured)
    if socket:
        (tmp_path / "run/containerd").mkdir(parents=True)
        (tmp_path / "run/containerd/containerd.sock").touch()
    assert images_folder({"DockerRootDir": "/mnt/nvme/docker", **info}, tmp_path) == folder


@pytest.mark.parametrize(
    ("registries", "plain"),
    [
        ({"InsecureRegistryCIDRs": ["127.0.0.0/8"]}, True),
        ({"InsecureRegistryCIDRs": ["::1/128", "127.0.0.0/8"]}, True),
        ({"InsecureRegistryCIDRs": ["10.0.0.0/8"]}, False),
        ({"InsecureRegistryCIDRs": []}, False),
        ({}, True),
        (None, True),
    ],
)
def test_docker_29_10_asks_the_loopback_by_tls_once_others_are_insecure(registries: Any, plain: bool) -> None:
    assert plain_loopback({"RegistryConfig": registries}) is plain


def test_runtimes_are_named() -> None:
    assert runtimes({"Runtimes": {"runc": {}, "nvidia": {"path": "nvidia-container-runtime"}}}) == ("nvidia", "runc")
    assert runtimes({}) == ()
