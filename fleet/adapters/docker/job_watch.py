"""A container that runs: its log followed, its end waited for, its result copied out. Whoever started it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import docker
import docker.errors
import requests.exceptions

from fleet.errors import DockerError, JobGone
from fleet.ports import DEFAULT_LIMITS, GiveUp, JobLimits, JobResult, LogLine, never

_TAIL_BYTES = 64 * 1024
_LOG_DRAIN_S = 10.0
_LOOK_S = 1.0
_ASK_S = 5.0
_ANSWER_S = 20.0
"""The Engine is asked every 5 s, and has 20 s to answer: what is dead is noticed within half a minute."""
_DISK_S = 30.0
_POLL_S = 0.05


class JobWatch:
    """One container from its start to its result. Lets the SDK's errors through to the adapter's seam.

    ``deadline_s`` counts from now.
    """

    def __init__(
        self,
        api: docker.APIClient,
        container: str,
        *,
        what: str,
        deadline_s: float,
        limits: JobLimits = DEFAULT_LIMITS,
        give_up: GiveUp = never,
    ) -> None:
        self._api, self._id, self._what = api, container, what
        self._deadline_s, self._ends = deadline_s, time.monotonic() + deadline_s
        self._limits, self._give_up = limits, give_up
        self._state: dict[str, Any] = {}
        self._log = LogFollower()

    def run(self, on_log: LogLine | None) -> None:
        """Follow the log and wait for the end. Raises DockerError past the deadline or the disk that it may take."""
        self._log.follow(self._api, self._id, on_log)
        ask_at = disk_at = time.monotonic()
        disk_at += _DISK_S
        pause = _POLL_S
        while True:
            over = self._log.ended.wait(_LOOK_S)
            self._check_time()
            if over or time.monotonic() >= ask_at:
                if self._has_ended():
                    break
                ask_at = time.monotonic() + _ASK_S
            if time.monotonic() >= disk_at:
                self._check_disk()
                disk_at = time.monotonic() + _DISK_S
            if over:  # the log ends some milliseconds before the container does, or it broke off
                time.sleep(pause)
                pause = min(_ASK_S, pause * 2)
        self._log.finish(self._api, self._id)

    def _check_time(self) -> None:
        if self._give_up():
            raise DockerError(f"{self._what} is not waited for any more", hint="run the command again")
        if time.monotonic() >= self._ends:
            raise DockerError(
                f"{self._what} did not finish within {self._deadline_s:.0f} s and was stopped; its last output: "
                f"{self._log.tail()[-400:].strip()!r}",
                hint="raise the profile's builder.timeout, or look why this machine is so slow",
            )

    def _has_ended(self) -> bool:
        with answering_within(self._api, _ANSWER_S):
            try:
                self._state = dict(self._api.inspect_container(self._id)["State"])
            except docker.errors.NotFound as error:
                raise JobGone(f"{self._what} was removed", hint="run the command again") from error
        return not (self._state["Running"] or self._state["Status"] == "created")

    def _check_disk(self) -> None:
        """Raise DockerError when the container wrote more than it may."""
        found = self._api.containers(all=True, size=True, filters={"id": self._id})
        written = int(found[0].get("SizeRw") or 0) if found else 0
        if written > self._limits.disk_bytes:
            raise DockerError(
                f"{self._what} wrote {written >> 20} MiB, more than the "
                f"{self._limits.disk_bytes >> 20} MiB that it may, and was stopped",
                hint="raise builder.disk in the profile if its builds need that much",
            )

    def result(self, output_dir: str, output_to: Path) -> JobResult:
        """Copy the output folder out and say how the container ended. Raises JobGone when it was removed."""
        output = self._copy_out(output_dir, output_to)
        return JobResult(int(self._state["ExitCode"]), bool(self._state.get("OOMKilled")), self._log.tail(), output)

    def _copy_out(self, output_dir: str, output_to: Path) -> Path | None:
        try:
            chunks, _ = self._api.get_archive(self._id, output_dir)
        except docker.errors.NotFound:
            self._has_ended()  # raises JobGone when it is the container that is not there
            return None
        partial = output_to.with_name(output_to.name + ".partial")
        left = self._limits.output_bytes
        try:
            with partial.open("wb") as file:
                for chunk in chunks:
                    left -= len(chunk)
                    if left < 0:
                        raise DockerError(
                            f"{self._what} left more than {self._limits.output_bytes >> 20} MiB",
                            hint="raise builder.output in the profile if an engine is that large",
                        )
                    file.write(chunk)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        return partial.replace(output_to)

    def close(self) -> None:
        """Wait until the log's thread has read what there is."""
        self._log.join()


@contextmanager
def answering_within(api: docker.APIClient, seconds: float) -> Iterator[None]:
    """Give the Engine so many seconds for each answer. The client is one thread's own."""
    before, api.timeout = api.timeout, seconds  # type: ignore[assignment]  # requests takes fractions too
    try:
        yield
    finally:
        api.timeout = before


class LogFollower:
    """Follows a container's log on a thread; keeps the tail, hands on whole lines."""

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._kept = self._seen = 0
        self._pending = b""
        self._on_log: LogLine | None = None
        self._thread: threading.Thread | None = None
        self.ended = threading.Event()
        """The Engine has no more of it, for now or for ever."""

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
        self.ended.set()

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
