"""One container, run to its end: inputs copied in, log followed, outputs copied out, removed whatever happens."""

from __future__ import annotations

import io
import math
import tarfile
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, BinaryIO

import docker
import docker.errors
import requests.exceptions
from docker.types import LogConfig, Mount

from fleet.adapters.docker.docker_errors import is_timeout
from fleet.errors import DockerError
from fleet.ports import DEFAULT_LIMITS, JobLimits, JobResult, LogLine

JETSON_FILES = {
    "/proc/device-tree/compatible": "/run/jetfleet/device-tree-compatible",
    "/etc/nvpmodel.conf": "/etc/nvpmodel.conf",
    "/var/lib/nvpmodel/status": "/var/lib/nvpmodel/status",
}
"""Where a Jetson says what it is → where `runtime.engines.device.device_facts` reads it. Docker hides /sys/firmware."""
_VIDEO = "44"
"""The group of the GPU's device files on Debian and Ubuntu."""

_TAIL_BYTES = 64 * 1024
_WAIT_SLICE_S = 30
_LOG_DRAIN_S = 10.0


class ContainerJob:
    """A container from create to remove; a context manager. Lets the SDK's errors through to the adapter's seam."""

    def __init__(
        self,
        api: docker.APIClient,
        image: str,
        command: Sequence[str],
        labels: Mapping[str, str],
        *,
        endpoint: str,
        deadline_s: float,
        jetson: bool = False,
        limits: JobLimits = DEFAULT_LIMITS,
    ) -> None:
        self._api, self._endpoint, self._image = api, endpoint, image
        self._command, self._labels = list(command), dict(labels)
        self._deadline_s = deadline_s
        self._jetson, self._limits = jetson, limits
        self._ends = time.monotonic() + deadline_s
        self._id = ""
        self._exit_code = -1
        self._log = _LogFollower()

    def __enter__(self) -> ContainerJob:
        bounds = _bounds(self._limits, self._memory())
        host_config = self._api.create_host_config(network_mode="none", **bounds, **_device(self._jetson))
        created = self._api.create_container(
            self._image, self._command, labels=self._labels, host_config=host_config, stdin_open=False
        )
        self._id = str(created["Id"])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._api.remove_container(self._id, v=True, force=True)
        except docker.errors.APIError as failure:
            if error is None and failure.status_code not in (404, 409):
                raise
        except (requests.exceptions.RequestException, OSError):
            if error is None:
                raise
        self._log.join()

    def copy_in(self, inputs: BinaryIO, input_dir: str, output_dir: str) -> None:
        """Make both folders and unpack the tar ``inputs`` into the first."""
        self._api.put_archive(self._id, "/", _folders(input_dir, output_dir))
        self._api.put_archive(self._id, input_dir, inputs)

    def run(self, on_log: LogLine | None) -> None:
        """Start, follow the log, wait for the end. Raises DockerError past the deadline."""
        self._api.start(self._id)
        self._log.follow(self._api, self._id, on_log)
        while True:
            left = self._ends - time.monotonic()
            if left <= 0:
                raise DockerError(
                    f"the container of {self._image} on {self._endpoint} did not finish within "
                    f"{self._deadline_s:.0f} s and was stopped; its last output: {self._log.tail()[-400:].strip()!r}",
                    hint="raise the profile's builder.timeout, or find out why this machine is so slow",
                )
            try:
                self._exit_code = int(
                    self._api.wait(self._id, timeout=math.ceil(min(left, _WAIT_SLICE_S)))["StatusCode"]
                )
                break
            except requests.exceptions.RequestException as error:
                if not is_timeout(error):
                    raise
            self._check_disk()
        self._log.finish(self._api, self._id)

    def _memory(self) -> int:
        if self._limits.memory_bytes is not None:
            return self._limits.memory_bytes
        return int(self._api.info()["MemTotal"]) * 9 // 10

    def _check_disk(self) -> None:
        """Raise DockerError when the container wrote more than it may. Looked at while it runs."""
        found = self._api.containers(all=True, size=True, filters={"id": self._id})
        written = int(found[0].get("SizeRw") or 0) if found else 0
        if written > self._limits.disk_bytes:
            raise DockerError(
                f"the container of {self._image} on {self._endpoint} wrote {written >> 20} MiB, more than the "
                f"{self._limits.disk_bytes >> 20} MiB that it may, and was stopped",
                hint="raise builder.disk in the profile if its builds need that much",
            )

    def result(self, output_dir: str, output_to: Path) -> JobResult:
        """Copy the output folder out and say how the container ended."""
        state = self._api.inspect_container(self._id)["State"]
        output = self._copy_out(output_dir, output_to)
        return JobResult(self._exit_code, bool(state.get("OOMKilled")), self._log.tail(), output)

    def _copy_out(self, output_dir: str, output_to: Path) -> Path | None:
        try:
            chunks, _ = self._api.get_archive(self._id, output_dir)
        except docker.errors.NotFound:
            return None
        partial = output_to.with_name(output_to.name + ".partial")
        left = self._limits.output_bytes
        try:
            with partial.open("wb") as file:
                for chunk in chunks:
                    left -= len(chunk)
                    if left < 0:
                        raise DockerError(
                            f"the container of {self._image} on {self._endpoint} left more than "
                            f"{self._limits.output_bytes >> 20} MiB",
                            hint="raise builder.output in the profile if an engine is that large",
                        )
                    file.write(chunk)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        return partial.replace(output_to)


class _LogFollower:
    """Follows a container's log on a thread; keeps the tail, hands on whole lines."""

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._kept = self._seen = 0
        self._pending = b""
        self._on_log: LogLine | None = None
        self._thread: threading.Thread | None = None

    def follow(self, api: docker.APIClient, container: str, on_log: LogLine | None) -> None:
        """Start following; the thread ends with the container."""
        self._on_log = on_log
        stream = api.logs(container, stdout=True, stderr=True, stream=True, follow=True)
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True, name="container-log")
        self._thread.start()

    def _read(self, stream: Iterable[bytes]) -> None:
        # A link that breaks here breaks the wait on the main thread too, which reports it; the log just ends.
        with suppress(docker.errors.DockerException, requests.exceptions.RequestException, OSError, ValueError):
            for chunk in stream:
                self._take(chunk)

    def finish(self, api: docker.APIClient, container: str) -> None:
        """Read on where following stopped: an Engine may end it before the last line is in its log."""
        self.join()
        skip = self._seen
        for chunk in api.logs(container, stdout=True, stderr=True, stream=True, follow=False):
            if skip < len(chunk):
                self._take(chunk[skip:])
            skip = max(0, skip - len(chunk))
        if self._pending and self._on_log is not None:
            self._on_log(self._pending.decode("utf-8", "replace"))

    def _take(self, chunk: bytes) -> None:
        self._seen += len(chunk)
        self._chunks.append(chunk)
        self._kept += len(chunk)
        while len(self._chunks) > 1 and self._kept - len(self._chunks[0]) >= _TAIL_BYTES:
            self._kept -= len(self._chunks.popleft())
        if self._on_log is not None:
            *lines, self._pending = (self._pending + chunk).split(b"\n")
            if len(self._pending) > _TAIL_BYTES:  # a line without an end is handed on in pieces
                lines, self._pending = [*lines, self._pending], b""
            for line in lines:
                self._on_log(line.decode("utf-8", "replace").rstrip("\r"))

    def tail(self) -> str:
        """Return the end of the log."""
        return b"".join(list(self._chunks))[-_TAIL_BYTES:].decode("utf-8", "replace")

    def join(self) -> None:
        """Wait until the thread has read what there is."""
        if self._thread is not None:
            self._thread.join(_LOG_DRAIN_S)


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
