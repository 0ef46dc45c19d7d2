"""A builder that answers from recordings: real engines, for tests on machines without a GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from fleet.errors import DockerError
from fleet.ports import DEFAULT_LIMITS, GiveUp, JobLimits, JobResult, LogLine, never
from runtime.contract.codec import canonical_json, from_json
from runtime.contract.engine.build import IDENTITY_FILE, JOB_FILE, REPORT_FILE, BuildJob, EngineIdentity, EngineReport
from runtime.contract.engine.timing import TIMING_DIR
from tests.fakes.container_host import FakeContainerHost
from tests.fakes.registries.recordings import (
    COMMAND,
    RecordedJob,
    question_of,
    read_archive,
    read_inputs,
    read_recording,
)
from tests.fakes.registries.recordings import write_archive as write_output


@dataclass
class RecordedBuilder(FakeContainerHost):
    """`fleet.ports.ContainerHost` whose jobs are answered from ``recordings``; one that was not recorded is refused.

    Engine, golden answers, measurements and TensorRT's version are the recording's. What it says as its own is the
    engine key (which follows our sources) and the module, L4T, CUDA and SM count that the job claims: the machine that
    recorded is no Jetson. A job that claims another TensorRT than the recording's still gets the recording's, and that
    is for whoever asked to refuse.
    """

    recordings: Path = Path()
    platform: str = "linux/arm64"
    given: list[list[bytes]] = field(default_factory=list)
    """Timing caches that each job brought."""

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
        self.jobs_started.append(dict(labels))
        files = read_inputs(inputs)
        self.given.append([content for name, content in sorted(files.items()) if name.startswith(f"{TIMING_DIR}/")])
        job = from_json(BuildJob, files[JOB_FILE])
        recorded = self._recorded(job, files)
        write_output(_as_asked(job, read_archive(self.recordings / recorded.archive)), output_to)
        return JobResult(recorded.exit_code, False, "answered from a recording\n", output_to)

    def _recorded(self, job: BuildJob, files: Mapping[str, bytes]) -> RecordedJob:
        question = question_of(files)
        for recorded in read_recording(self.recordings).jobs:
            if recorded.question == question:
                return recorded
        raise DockerError(
            f"no recording in {self.recordings} answers this job for {job.model} {job.precision}",
            hint=f"record it on a GPU host: {COMMAND}",
        )


def _as_asked(job: BuildJob, files: dict[str, bytes]) -> dict[str, bytes]:
    report = from_json(EngineReport, files[REPORT_FILE])
    identity = _identity(job, report.identity)
    extra: dict[str, Any] = dict(report.extra)
    device = identity.device
    facts = {**extra["timing_cache"]["facts"], "module": device.module, "sm_count": device.sm_count}
    extra["timing_cache"] = {**extra["timing_cache"], "facts": facts}
    changed = {
        REPORT_FILE: canonical_json(replace(report, identity=identity, extra=extra)),
        IDENTITY_FILE: canonical_json(_identity(job, from_json(EngineIdentity, files[IDENTITY_FILE]))),
    }
    return {**files, **changed}


def _identity(job: BuildJob, recorded: EngineIdentity) -> EngineIdentity:
    return replace(recorded, key=job.key, device=replace(job.device, tensorrt=recorded.device.tensorrt))
