"""A Docker Engine without Docker: images are labels, containers are processes in folders of their own."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from fleet.errors import BuilderLost, BuildError, DockerError, JobExists, JobGone
from fleet.ports import (
    CREATED,
    DEFAULT_LIMITS,
    ENDED,
    RUNNING,
    GiveUp,
    HostInfo,
    JobFacts,
    JobLimits,
    JobResult,
    LogLine,
    never,
)

REPO = Path(__file__).resolve().parents[2]


@dataclass
class Running:
    """A container that was made and not removed yet."""

    name: str
    labels: Mapping[str, str]
    image: str = ""
    command: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    exit_code: int | None = None
    """Of one whose process is another's, or was there before the test began."""
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="fake-container-")))
    since: float = field(default_factory=time.monotonic)

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def code(self) -> int | None:
        return self.process.poll() if self.process is not None else self.exit_code


@dataclass
class FakeContainerHost:
    """Implements ``fleet.ports.ContainerHost``. A job's command really runs, `python3` as this Python."""

    endpoint: str = "fake"
    platform: str = "linux/amd64"
    down: bool = False
    fails_build: str = ""
    """What the failing build step says; empty builds well."""
    oom: bool = False
    """Every job ends as if the kernel had killed it."""
    images: dict[str, dict[str, str]] = field(default_factory=dict)
    contexts: list[list[str]] = field(default_factory=list)
    """Names in each context that was built."""
    jobs_started: list[Mapping[str, str]] = field(default_factory=list)
    """Labels of every container ever started."""
    followed: list[str] = field(default_factory=list)
    """Names of the jobs that were gone on with."""
    ids: dict[str, str] = field(default_factory=dict)
    """Ids of images that are not made up."""
    loaded: list[bytes] = field(default_factory=list)
    loads_as: str | None = None
    """The name under which an image that is loaded appears."""
    cut: bool = False
    """Whoever follows a job loses it."""
    most_at_once: int = 0

    def __post_init__(self) -> None:
        self._containers: dict[int, Running] = {}
        self._lock = threading.Lock()
        self._next = 0

    # ── images ───────────────────────────────────────────────────────────────────────────────────────────────────

    def info(self) -> HostInfo:
        self._answer()
        return HostInfo(self.platform, "fake", os.cpu_count() or 1, 1 << 33)

    def image_id(self, reference: str) -> str | None:
        self._answer()
        return self._image_id(reference) if reference in self.images else None

    def _image_id(self, reference: str) -> str:
        return self.ids.get(reference) or f"sha256:{abs(hash(reference)):064x}"

    def image_labels(self, reference: str) -> Mapping[str, str] | None:
        self._answer()
        return self.images.get(reference)

    def pull(self, reference: str, on_log: LogLine | None = None) -> None:
        self._answer()
        raise DockerError(f"Docker at {self.endpoint} could not pull {reference}: no registry here", hint="build it")

    def build_image(
        self, context: BinaryIO, tag: str, *, labels: Mapping[str, str], on_log: LogLine | None = None
    ) -> str:
        self._answer()
        with tarfile.open(fileobj=context, mode="r|") as tar:
            names = [entry.name for entry in tar]
        self.contexts.append(names)
        if "Dockerfile" not in names:
            raise DockerError(f"Docker at {self.endpoint} could not build image {tag}: no Dockerfile", hint="add one")
        if on_log is not None:
            on_log("Step 1/1 : FROM scratch")
        if self.fails_build:
            raise BuildError(
                f"Docker at {self.endpoint} could not build image {tag}: {self.fails_build}", hint="mend it"
            )
        self.images[tag] = dict(labels)
        image = self.image_id(tag)
        assert image is not None
        return image

    def export_image(self, reference: str) -> Iterator[bytes]:
        self._answer()
        if reference not in self.images:
            raise DockerError(
                f"Docker at {self.endpoint} could not export image {reference}: no such image", hint="build"
            )
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w"):
            pass
        yield buffer.getvalue()

    def load_image(self, chunks: Iterator[bytes]) -> None:
        self._answer()
        for chunk in chunks:
            self.loaded.append(chunk)
        if self.loads_as is not None:
            self.images[self.loads_as] = {}

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
        self._answer()
        if image not in self.images:
            raise DockerError(f"Docker at {self.endpoint} could not run {image}: no such image", hint="build it first")
        number = self._create(labels, name, image, tuple(command))
        folder = self._containers[number].folder
        keep = False
        try:
            mapped = {path: folder / path.lstrip("/") for path in (input_dir, output_dir)}
            for path in mapped.values():
                path.mkdir(parents=True, exist_ok=True)
            with tarfile.open(fileobj=inputs, mode="r|") as tar:
                tar.extractall(mapped[input_dir], filter="data")
            self._start(number, _mapped(command, mapped))
            result = self._follow(number, output_dir, output_to, deadline_s, on_log, limits, give_up)
            keep = name is not None
            return result
        except BuilderLost:
            keep = name is not None
            raise
        finally:
            if not keep:
                self._remove(number)

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
        self._answer()
        number = self._number(name)
        if number is None:
            raise JobGone(f"the job {name} on {self.endpoint} is not there", hint="run the command again")
        self.followed.append(name)
        try:
            return self._follow(number, output_dir, output_to, deadline_s, on_log, limits, give_up)
        except DockerError as error:
            if not isinstance(error, BuilderLost | JobGone) and not give_up():
                self._remove(number)
            raise

    def jobs(self, labels: Mapping[str, str]) -> Sequence[JobFacts]:
        self._answer()
        with self._lock:
            found = [one for one in self._containers.values() if labels.items() <= one.labels.items()]
        return [self._facts(one) for one in found]

    def _facts(self, one: Running) -> JobFacts:
        code = one.code
        state = CREATED if one.process is None and code is None else RUNNING if code is None else ENDED
        age = max(0.0, time.monotonic() - one.since)
        return JobFacts(one.name, one.labels, state, code, age, self._image_id(one.image), one.command)

    def remove_job(self, name: str) -> None:
        self._answer()
        number = self._number(name)
        if number is not None:
            self._remove(number)

    def _number(self, name: str) -> int | None:
        with self._lock:
            return next((number for number, one in self._containers.items() if one.name == name), None)

    def _create(self, labels: Mapping[str, str], name: str | None, image: str, command: tuple[str, ...]) -> int:
        with self._lock:
            if name is not None and any(one.name == name for one in self._containers.values()):
                raise JobExists(f"the job {name} is there already", hint="go on with it")
            self._next += 1
            self._containers[self._next] = Running(name or f"unnamed-{self._next}", dict(labels), image, command)
            self.jobs_started.append(dict(labels))
            self.most_at_once = max(self.most_at_once, sum(one.code is None for one in self._containers.values()))
            return self._next

    def _start(self, number: int, command: Sequence[str]) -> None:
        environment = {**os.environ, "PYTHONPATH": str(REPO), "PYTHONUNBUFFERED": "1"}
        with self._lock:
            one = self._containers.get(number)
            if one is None:
                raise DockerError(f"Docker at {self.endpoint}: no such container", hint="somebody removed it")
            with one.log.open("wb") as log:
                one.process = subprocess.Popen(
                    command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment
                )
            one.since = time.monotonic()

    def _follow(
        self,
        number: int,
        output_dir: str,
        output_to: Path,
        deadline_s: float,
        on_log: LogLine | None,
        limits: JobLimits,
        give_up: GiveUp,
    ) -> JobResult:
        one = self._there(number)
        ends, seen = time.monotonic() + deadline_s, 0
        over = False
        while not over:
            over = one.code is not None
            self._there(number)
            lines = one.log.read_bytes().decode("utf-8", "replace").splitlines(keepends=True)
            whole = [line for line in lines if over or line.endswith("\n")]
            for line in whole[seen:] if on_log is not None else ():
                on_log(line.rstrip("\r\n"))
            seen = len(whole)
            if self.cut:
                raise BuilderLost(f"Docker at {self.endpoint} does not answer: cut", hint="mend the link")
            if give_up():
                raise DockerError(f"the job {one.name} is not waited for any more", hint="run the command again")
            if not over and time.monotonic() > ends:
                raise DockerError(
                    f"the container did not finish within {deadline_s:.0f} s and was stopped", hint="wait longer"
                )
            time.sleep(0 if over else 0.02)
        self._there(number)
        return self._result(one, "".join(lines)[-65536:], output_dir, output_to, limits)

    def _there(self, number: int) -> Running:
        with self._lock:
            one = self._containers.get(number)
        if one is None:
            raise JobGone(f"Docker at {self.endpoint}: no such container", hint="somebody removed it")
        return one

    def _result(self, one: Running, tail: str, output_dir: str, output_to: Path, limits: JobLimits) -> JobResult:
        code = one.code
        assert code is not None
        output = one.folder / output_dir.lstrip("/")
        if not output.is_dir():
            return JobResult(code, False, tail, None)
        with tarfile.open(output_to, "w") as tar:
            tar.add(output, arcname=Path(output_dir).name)
        if output_to.stat().st_size > limits.output_bytes:
            output_to.unlink()
            raise DockerError(f"the container left more than {limits.output_bytes >> 20} MiB", hint="raise it")
        return JobResult(137 if self.oom else code, self.oom, tail, output_to)

    def remove_containers(self, labels: Mapping[str, str]) -> int:
        self._answer()
        with self._lock:
            found = [n for n, one in self._containers.items() if labels.items() <= one.labels.items()]
        for number in found:
            self._remove(number)
        return len(found)

    def leave_behind(
        self,
        labels: Mapping[str, str],
        *,
        name: str | None = None,
        exit_code: int | None = 137,
        image: str = "",
        command: Sequence[str] = (),
        age_s: float = 0.0,
    ) -> Running:
        """Leave a container as a killed run does: ended with ``exit_code``, or created and never started (None)."""
        one = self._containers[self._create(labels, name, image, tuple(command))]
        self.jobs_started.pop()
        one.log.touch()
        one.exit_code, one.since = exit_code, time.monotonic() - age_s
        return one

    @property
    def containers(self) -> list[Mapping[str, str]]:
        """Labels of the containers that are there."""
        with self._lock:
            return [one.labels for one in self._containers.values()]

    def _remove(self, number: int) -> None:
        with self._lock:
            container = self._containers.pop(number, None)
        if container is None:
            return
        if container.process is not None:
            container.process.kill()
            container.process.wait()
        shutil.rmtree(container.folder)

    def _answer(self) -> None:
        if self.down:
            raise DockerError(f"Docker at {self.endpoint} does not answer: connection refused", hint="start it")


def _mapped(command: Sequence[str], folders: Mapping[str, Path]) -> list[str]:
    """Return the command with container paths, where they stand as arguments of their own, as this machine's."""
    names = {**{path: str(real) for path, real in folders.items()}, "python3": sys.executable}
    return [names.get(argument, argument) for argument in command]


def press_ctrl_c() -> None:
    """Send SIGINT to the main thread, which wakes it from a wait as Ctrl-C does."""
    ident = threading.main_thread().ident
    assert ident is not None
    signal.pthread_kill(ident, signal.SIGINT)


def wait_until(condition: object, what: str, *, deadline_s: float = 20.0) -> None:
    """Wait until ``condition()`` is true; fail saying ``what`` was waited for."""
    ends = time.monotonic() + deadline_s
    while not condition():  # type: ignore[operator]
        if time.monotonic() > ends:
            raise AssertionError(f"waited {deadline_s} s for {what}")
        time.sleep(0.02)
