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

from fleet.errors import BuildError, DockerError
from fleet.ports import DEFAULT_LIMITS, HostInfo, JobLimits, JobResult, LogLine

REPO = Path(__file__).resolve().parents[2]


@dataclass
class Running:
    """A container that was made and not removed yet."""

    labels: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None


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
    jobs: list[Mapping[str, str]] = field(default_factory=list)
    """Labels of every container ever started."""
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
        return f"sha256:{abs(hash(reference)):064x}" if reference in self.images else None

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
        self._answer()
        if image not in self.images:
            raise DockerError(f"Docker at {self.endpoint} could not run {image}: no such image", hint="build it first")
        number = self._create(labels)
        folder = Path(tempfile.mkdtemp(prefix="fake-container-"))
        try:
            mapped = {path: folder / path.lstrip("/") for path in (input_dir, output_dir)}
            for path in mapped.values():
                path.mkdir(parents=True, exist_ok=True)
            with tarfile.open(fileobj=inputs, mode="r|") as tar:
                tar.extractall(mapped[input_dir], filter="data")
            code, tail = self._run(number, _mapped(command, mapped), on_log, deadline_s)
            if not mapped[output_dir].is_dir():
                return JobResult(code, False, tail, None)
            with tarfile.open(output_to, "w") as tar:
                tar.add(mapped[output_dir], arcname=Path(output_dir).name)
            if output_to.stat().st_size > limits.output_bytes:
                output_to.unlink()
                raise DockerError(f"the container left more than {limits.output_bytes >> 20} MiB", hint="raise it")
            return JobResult(137 if self.oom else code, self.oom, tail, output_to)
        finally:
            self._remove(number)
            shutil.rmtree(folder)

    def _create(self, labels: Mapping[str, str]) -> int:
        with self._lock:
            self._next += 1
            self._containers[self._next] = Running(dict(labels))
            self.jobs.append(dict(labels))
            self.most_at_once = max(self.most_at_once, len(self._containers))
            return self._next

    def _run(self, number: int, command: Sequence[str], on_log: LogLine | None, deadline_s: float) -> tuple[int, str]:
        environment = {**os.environ, "PYTHONPATH": str(REPO), "PYTHONUNBUFFERED": "1"}
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment
        ) as process:
            with self._lock:
                if number not in self._containers:
                    process.kill()
                else:
                    self._containers[number].process = process
            late = threading.Event()
            timer = threading.Timer(deadline_s, lambda: (late.set(), process.kill()))
            timer.start()
            try:
                tail = _follow(process, on_log)
                code = process.wait()
            except BaseException:
                process.kill()
                raise
            finally:
                timer.cancel()
        if late.is_set():
            raise DockerError(
                f"the container did not finish within {deadline_s:.0f} s and was stopped", hint="wait longer"
            )
        with self._lock:
            if number not in self._containers:
                raise DockerError(f"Docker at {self.endpoint}: no such container", hint="it was removed meanwhile")
        return code, tail

    def remove_containers(self, labels: Mapping[str, str]) -> int:
        self._answer()
        with self._lock:
            found = [n for n, one in self._containers.items() if labels.items() <= one.labels.items()]
        for number in found:
            self._remove(number)
        return len(found)

    def leave_behind(self, labels: Mapping[str, str]) -> None:
        """Leave a container as a killed run does."""
        self._create(labels)

    @property
    def containers(self) -> list[Mapping[str, str]]:
        """Labels of the containers that are there."""
        with self._lock:
            return [one.labels for one in self._containers.values()]

    def _remove(self, number: int) -> None:
        with self._lock:
            container = self._containers.pop(number, None)
        if container is not None and container.process is not None and container.process.poll() is None:
            container.process.kill()

    def _answer(self) -> None:
        if self.down:
            raise DockerError(f"Docker at {self.endpoint} does not answer: connection refused", hint="start it")


def _mapped(command: Sequence[str], folders: Mapping[str, Path]) -> list[str]:
    """Return the command with container paths, where they stand as arguments of their own, as this machine's."""
    names = {**{path: str(real) for path, real in folders.items()}, "python3": sys.executable}
    return [names.get(argument, argument) for argument in command]


def _follow(process: subprocess.Popen[bytes], on_log: LogLine | None) -> str:
    lines: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line.decode("utf-8", "replace"))
        if on_log is not None:
            on_log(lines[-1].rstrip("\r\n"))
    return "".join(lines)[-65536:]


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
