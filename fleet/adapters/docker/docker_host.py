"""A Docker Engine through the docker SDK: the local one, or a builder's over ``ssh://``."""

from __future__ import annotations

import os
import re
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import docker
import docker.errors
from docker.context import ContextAPI
from docker.utils import kwargs_from_env

from fleet.adapters.docker.docker_errors import is_no_space, no_space, translated
from fleet.adapters.docker.docker_job import ContainerJob
from fleet.errors import BuildError, DockerError
from fleet.ports import DEFAULT_LIMITS, HostInfo, JobLimits, JobResult, LogLine

_ANSWER_S = 60.0
"""For one answer of the Engine; builds and jobs have deadlines of their own."""
_BUILD_SILENCE_S = 1800.0
"""A build step may say nothing for this long (pip and apt do) before the build counts as hung."""
_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_STEP_LINES = 25
_LINE = 200
_FROM = re.compile(r"Step \d+/\d+ : FROM ")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class DockerHost:
    """One Engine behind ``fleet.ports.ContainerHost``. Connects at first use; safe to use from several threads.

    ``endpoint``: ``local`` (DOCKER_HOST, else the docker CLI's current context, else the default socket),
    ``ssh://user@host`` (through the ssh client, so its config, agent and known hosts apply), ``unix://``, ``tcp://``.
    """

    def __init__(self, endpoint: str = "local") -> None:
        self.endpoint = endpoint
        self._where = _described(endpoint)
        self._local = threading.local()

    # ── asking ───────────────────────────────────────────────────────────────────────────────────────────────────

    def info(self) -> HostInfo:
        """See ContainerHost."""
        with translated(self._where, "say what it is"):
            facts = self._api().info()
        architecture = str(facts["Architecture"])
        return HostInfo(
            platform=f"{facts['OSType']}/{_ARCHITECTURES.get(architecture, architecture)}",
            engine_version=str(facts["ServerVersion"]),
            cpus=int(facts["NCPU"]),
            memory_bytes=int(facts["MemTotal"]),
        )

    def image_id(self, reference: str) -> str | None:
        """See ContainerHost."""
        image = self._inspect_image(reference)
        return None if image is None else str(image["Id"])

    def image_labels(self, reference: str) -> Mapping[str, str] | None:
        """See ContainerHost."""
        image = self._inspect_image(reference)
        return None if image is None else dict(image["Config"].get("Labels") or {})

    def _inspect_image(self, reference: str) -> dict[str, Any] | None:
        with translated(self._where, f"inspect image {reference}"):
            try:
                return dict(self._api().inspect_image(reference))  # type: ignore[no-untyped-call]
            except docker.errors.ImageNotFound:
                return None

    # ── images ───────────────────────────────────────────────────────────────────────────────────────────────────

    def pull(self, reference: str, on_log: LogLine | None = None) -> None:
        """See ContainerHost."""
        doing = f"pull {reference}"
        with translated(self._where, doing):
            for event in self._api().pull(reference, stream=True, decode=True):
                if "error" in event:
                    raise self._failed(doing, str(event["error"]), [])
                if on_log is not None and "progress" not in event:
                    on_log(" ".join(str(event[key]) for key in ("id", "status") if event.get(key)))

    def build_image(
        self, context: BinaryIO, tag: str, *, labels: Mapping[str, str], on_log: LogLine | None = None
    ) -> str:
        """See ContainerHost. Uses the classic builder, which every Engine has. Raises BuildError for a failed step."""
        doing = f"build image {tag}"
        with translated(self._where, doing):
            events = self._api().build(
                fileobj=context, custom_context=True, tag=tag, labels=dict(labels), rm=True, forcerm=True,
                decode=True, timeout=int(_BUILD_SILENCE_S),
            )  # fmt: skip
            self._follow_build(events, doing, on_log)
        image = self.image_id(tag)
        if image is None:
            raise DockerError(
                f"Docker at {self._where} reports that it built {tag}, but has no such image",
                hint="it was removed meanwhile (a prune?): run the command again",
            )
        return image

    def _follow_build(self, events: Iterator[Any], doing: str, on_log: LogLine | None) -> None:
        step, tail = "", deque[str](maxlen=_STEP_LINES)
        for event in events:
            if "error" in event:
                raise self._failed(doing, str(event["error"]), [step, *tail])
            for line in _COLOUR.sub("", str(event.get("stream") or "")).splitlines():
                if line.startswith("Step "):
                    step = line
                    tail.clear()
                elif line.strip():
                    tail.append(line)
                if on_log is not None and line.strip():
                    on_log(line)

    def _failed(self, doing: str, error: str, log: Sequence[str]) -> DockerError | BuildError:
        if is_no_space(error) or is_no_space("\n".join(log)):
            return no_space(self._where, doing)
        shown = "\n".join(f"  {_short(line)}" for line in log if line)
        error = _short(error)
        if not shown:
            return DockerError(
                f"Docker at {self._where} could not {doing}: {error}",
                hint=(
                    "check the name and that the machine reaches its registry; `docker login` if the registry needs "
                    "credentials"
                ),
            )
        hint = "the last lines of the failing step are above; correct what they report, then run the command again"
        if _FROM.match(log[0]):
            hint = (
                "that Engine can't pull this image: `docker pull` it there, or set base_image of the profile to another"
            )
        return BuildError(f"Docker at {self._where} could not {doing}: {error}\n{shown}", hint=hint)

    def export_image(self, reference: str) -> Iterator[bytes]:
        """See ContainerHost."""
        with translated(self._where, f"export image {reference}"):
            yield from self._api().get_image(reference)

    # ── containers ───────────────────────────────────────────────────────────────────────────────────────────────

    def run_job(
        self,
        image: str,
        command: Sequence[str],
        *,
        inputs: BinaryIO,
        input_dir: str,
        output_dir: str,
        output_to: Path,
        labels: Mapping[str, str],
        deadline_s: float,
        on_log: LogLine | None = None,
        jetson: bool = False,
        limits: JobLimits = DEFAULT_LIMITS,
    ) -> JobResult:
        """See ContainerHost. The container has no network, and no mounts but a Jetson's own files."""
        doing = f"run {' '.join(command[:4])} in {image}"
        with (
            translated(self._where, doing),
            ContainerJob(
                self._api(),
                image,
                command,
                labels,
                endpoint=self._where,
                deadline_s=deadline_s,
                jetson=jetson,
                limits=limits,
            ) as job,  # fmt: skip
        ):
            job.copy_in(inputs, input_dir, output_dir)
            job.run(on_log)
            return job.result(output_dir, output_to)

    def remove_containers(self, labels: Mapping[str, str]) -> int:
        """See ContainerHost."""
        wanted = [f"{key}={value}" for key, value in labels.items()]
        with translated(self._where, f"remove containers labelled {', '.join(wanted)}"):
            api = self._api()
            found = api.containers(all=True, filters={"label": wanted})
            for container in found:
                remove_container(api, str(container["Id"]))
            return len(found)

    # ── connection ───────────────────────────────────────────────────────────────────────────────────────────────

    def _api(self) -> docker.APIClient:
        """Return this thread's connection: requests sessions are not made for sharing."""
        client: docker.APIClient | None = getattr(self._local, "client", None)
        if client is None:
            client = self._local.client = self._connect()
        return client

    def _connect(self) -> docker.APIClient:
        options: dict[str, Any] = {"version": "auto", "timeout": _ANSWER_S}
        if self.endpoint == "local":
            options.update(_local_endpoint())
        else:
            options["base_url"] = self.endpoint
        if str(options.get("base_url", "")).startswith("ssh://"):
            options["use_ssh_client"] = True
        return docker.APIClient(**options)


def _short(text: str) -> str:
    """Cut the middle out of a long line: the Engine repeats whole RUN commands."""
    return text if len(text) <= _LINE else f"{text[: _LINE // 2]} … {text[-_LINE // 2 :]}"


def _described(endpoint: str) -> str:
    """Return the endpoint as errors name it: ``local`` alone does not say which socket was tried."""
    host = os.environ.get("DOCKER_HOST")
    return f"local (DOCKER_HOST={host})" if endpoint == "local" and host else endpoint


def _local_endpoint() -> dict[str, Any]:
    """Return what the docker CLI would use: the environment, then its current context."""
    if os.environ.get("DOCKER_HOST"):
        return dict(kwargs_from_env())
    context = ContextAPI.get_current_context()
    if context is None or not context.Host:
        return {}
    return {"base_url": context.Host, "tls": context.TLSConfig or False}


def remove_container(api: docker.APIClient, container: str) -> None:
    """Kill and remove one container; one that is gone, or going, is fine."""
    try:
        api.remove_container(container, v=True, force=True)
    except docker.errors.APIError as error:
        if error.status_code not in (404, 409):
            raise
