"""A Docker Engine through the docker SDK: the local one, or a builder's over ``ssh://``."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import docker.errors

from fleet.adapters.docker.docker_errors import is_lost, is_no_space, no_space
from fleet.adapters.docker.docker_job import ContainerJob, remove_container
from fleet.adapters.docker.engine_connection import EngineConnection
from fleet.adapters.docker.job_facts import job_facts
from fleet.adapters.docker.job_watch import JobWatch
from fleet.errors import BuilderLost, BuildError, DockerError, JobGone
from fleet.ports import DEFAULT_LIMITS, GiveUp, HostInfo, JobFacts, JobLimits, JobResult, LogLine, never

_BUILD_SILENCE_S = 1800.0
"""A build step may say nothing for this long (pip and apt do) before the build counts as hung."""
_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_STEP_LINES = 25
_LINE = 200
_FROM = re.compile(r"Step \d+/\d+ : FROM ")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class DockerHost:
    """One Engine behind ``fleet.ports.ContainerHost``; endpoint and ``ssh`` as for EngineConnection.

    Connects at first use; safe to use from several threads.
    """

    def __init__(self, endpoint: str = "local", ssh: Sequence[str] = ("ssh",)) -> None:
        self.endpoint = endpoint
        self._connection = EngineConnection(endpoint, ssh)
        self._where = self._connection.where
        self._api = self._connection.api
        self._translated = self._connection.translated

    # ── asking ───────────────────────────────────────────────────────────────────────────────────────────────────

    def info(self) -> HostInfo:
        """See ContainerHost."""
        with self._translated("say what it is"):
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
        with self._translated(f"inspect image {reference}"):
            try:
                return dict(self._api().inspect_image(reference))  # type: ignore[no-untyped-call]
            except docker.errors.ImageNotFound:
                return None

    # ── images ───────────────────────────────────────────────────────────────────────────────────────────────────

    def pull(self, reference: str, on_log: LogLine | None = None) -> None:
        """See ContainerHost."""
        doing = f"pull {reference}"
        with self._translated(doing):
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
        with self._translated(doing):
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
                "that Engine can't pull this image: `docker pull` it there, send it from this machine (fleet build "
                "--send-base), or set base_image of the profile to another"
            )
        return BuildError(f"Docker at {self._where} could not {doing}: {error}\n{shown}", hint=hint)

    def export_image(self, reference: str) -> Iterator[bytes]:
        """See ContainerHost."""
        with self._translated(f"export image {reference}"):
            yield from self._api().get_image(reference)

    def load_image(self, chunks: Iterator[bytes]) -> None:
        """See ContainerHost."""
        doing = "load an image"
        with self._translated(doing):
            for event in self._api().load_image(chunks):  # type: ignore[no-untyped-call]
                if "error" in event:
                    raise self._failed(doing, str(event["error"]), [])

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
        name: str | None = None,
        give_up: GiveUp = never,
    ) -> JobResult:
        """See ContainerHost. The container has no network, and no mounts but a Jetson's own files."""
        doing = f"run {' '.join(command[:4])} in {image}"
        with (
            self._translated(doing),
            ContainerJob(self._api(), image, command, labels, jetson=jetson, limits=limits, name=name) as job,
        ):
            job.copy_in(inputs, input_dir, output_dir)
            job.start()
            what = f"the container of {image} on {self._where}"
            return self._watch(job.id, what, output_dir, output_to, deadline_s, on_log, limits, give_up)

    def follow_job(
        self,
        name: str,
        *,
        output_dir: str,
        output_to: Path,
        deadline_s: float,
        on_log: LogLine | None = None,
        limits: JobLimits = DEFAULT_LIMITS,
        give_up: GiveUp = never,
    ) -> JobResult:
        """See ContainerHost."""
        with self._translated(f"go on with the job {name}"):
            what = f"the job {name} on {self._where}"
            try:
                return self._watch(name, what, output_dir, output_to, deadline_s, on_log, limits, give_up)
            except docker.errors.NotFound as error:
                raise JobGone(f"{what} is not there", hint="run the command again") from error
            except DockerError as error:
                if not isinstance(error, BuilderLost | JobGone) and not give_up():
                    remove_container(self._api(), name)
                raise

    def _watch(
        self,
        container: str,
        what: str,
        output_dir: str,
        output_to: Path,
        deadline_s: float,
        on_log: LogLine | None,
        limits: JobLimits,
        give_up: GiveUp,
    ) -> JobResult:
        watch = JobWatch(self._api(), container, what=what, deadline_s=deadline_s, limits=limits, give_up=give_up)
        try:
            watch.run(on_log)
            return watch.result(output_dir, output_to)
        except BaseException as error:
            if is_lost(error):
                raise self._lost(what, error) from error
            raise
        finally:
            watch.close()

    def _lost(self, what: str, error: BaseException) -> BuilderLost:
        try:
            with self._translated(f"say how {what} is"):
                raise error
        except DockerError as said:
            return BuilderLost(said.message, hint=said.hint)

    def jobs(self, labels: Mapping[str, str]) -> Sequence[JobFacts]:
        """See ContainerHost."""
        with self._translated("say which jobs it has"):
            api = self._api()
            found = api.containers(all=True, filters={"label": _filters(labels)})
            now = str(api.info()["SystemTime"]) if found else ""
            return [facts for each in found if (facts := job_facts(api, str(each["Id"]), now)) is not None]

    def remove_job(self, name: str) -> None:
        """See ContainerHost."""
        with self._translated(f"remove the job {name}"):
            remove_container(self._api(), name)

    def remove_containers(self, labels: Mapping[str, str]) -> int:
        """See ContainerHost."""
        wanted = _filters(labels)
        with self._translated(f"remove containers labelled {', '.join(wanted)}"):
            api = self._api()
            found = api.containers(all=True, filters={"label": wanted})
            for container in found:
                remove_container(api, str(container["Id"]))
            return len(found)


def _short(text: str) -> str:
    """Cut the middle out of a long line: the Engine repeats whole RUN commands."""
    return text if len(text) <= _LINE else f"{text[: _LINE // 2]} … {text[-_LINE // 2 :]}"


def _filters(labels: Mapping[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in labels.items()]
