"""One container, created and started for a job: inputs copied in, then watched to its end, and removed."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from types import TracebackType
from typing import Any, BinaryIO

import docker
import docker.errors
import requests.exceptions
from docker.types import LogConfig, Mount

from fleet.errors import BuilderLost, JobExists
from fleet.ports import DEFAULT_LIMITS, JobLimits

JETSON_FILES = {
    "/proc/device-tree/compatible": "/run/jetfleet/device-tree-compatible",
    "/etc/nvpmodel.conf": "/etc/nvpmodel.conf",
    "/var/lib/nvpmodel/status": "/var/lib/nvpmodel/status",
}
"""Where a Jetson says what it is → where `runtime.engines.device.device_facts` reads it. Docker hides /sys/firmware."""
_VIDEO = "44"
"""The group of the GPU's device files on Debian and Ubuntu."""


class ContainerJob:
    """A container from create to remove; a context manager. Lets the SDK's errors through to the adapter's seam.

    One with a ``name`` is removed only when it failed by its own fault: what ended, and what an Engine that is lost may
    still be running, can be gone on with.
    """

    def __init__(
        self,
        api: docker.APIClient,
        image: str,
        command: Sequence[str],
        labels: Mapping[str, str],
        *,
        jetson: bool = False,
        limits: JobLimits = DEFAULT_LIMITS,
        name: str | None = None,
    ) -> None:
        self._api, self._image = api, image
        self._command, self._labels = list(command), dict(labels)
        self._jetson, self._limits, self._name = jetson, limits, name
        self.id = ""

    def __enter__(self) -> ContainerJob:
        bounds = _bounds(self._limits, self._memory())
        host_config = self._api.create_host_config(network_mode="none", **bounds, **_device(self._jetson))
        try:
            created = self._api.create_container(
                self._image, self._command, labels=self._labels, host_config=host_config, stdin_open=False,
                name=self._name,
            )  # fmt: skip
        except docker.errors.APIError as error:
            if self._name is not None and error.status_code == 409:
                raise JobExists(f"the job {self._name} is there already", hint="go on with it") from error
            raise
        self.id = str(created["Id"])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._name is not None and (error is None or isinstance(error, BuilderLost)):
            return
        try:
            remove_container(self._api, self.id)
        except (docker.errors.DockerException, requests.exceptions.RequestException, OSError):
            if error is None:
                raise

    def copy_in(self, inputs: BinaryIO, input_dir: str, output_dir: str) -> None:
        """Make both folders and unpack the tar ``inputs`` into the first."""
        self._api.put_archive(self.id, "/", _folders(input_dir, output_dir))
        self._api.put_archive(self.id, input_dir, inputs)

    def start(self) -> None:
        """Start it: from now on it may go on when the Engine cannot be asked."""
        self._api.start(self.id)

    def _memory(self) -> int:
        if self._limits.memory_bytes is not None:
            return self._limits.memory_bytes
        return int(self._api.info()["MemTotal"]) * 9 // 10


def remove_container(api: docker.APIClient, container: str) -> None:
    """Kill and remove one container; one that is gone, or going, is fine."""
    try:
        api.remove_container(container, v=True, force=True)
    except docker.errors.APIError as error:
        if error.status_code not in (404, 409):
            raise


def _bounds(limits: JobLimits, memory: int) -> dict[str, Any]:
    """Return what a builder may take. It is given another's model, and code of its framework reads it."""
    return {
        "mem_limit": memory,
        "pids_limit": limits.pids,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "log_config": LogConfig(type="json-file", config={"max-size": "64m", "max-file": "2"}),
    }


def _device(jetson: bool) -> dict[str, Any]:
    """Return what gives a container a Jetson's GPU. Mounts, not binds: those make folders where a file is missing."""
    if not jetson:
        return {}
    mounts = [Mount(inside, outside, type="bind", read_only=True) for outside, inside in JETSON_FILES.items()]
    return {"runtime": "nvidia", "group_add": [_VIDEO], "mounts": mounts}


def _folders(*paths: str) -> bytes:
    """Return a tar of empty folders that the container's user, whoever it is, may write to."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in paths:
            entry = tarfile.TarInfo(str(PurePosixPath(path).relative_to("/")))
            entry.type, entry.mode = tarfile.DIRTYPE, 0o777
            tar.addfile(entry)
    return buffer.getvalue()
