"""One engine: one builder container, from the inputs' archive to a checked result folder."""

from __future__ import annotations

import hashlib
import shutil
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from fleet.build.cache import cache_dir, locked
from fleet.build.check_result import describe, read_answer
from fleet.build.job_archive import unpack_outputs, write_inputs
from fleet.build.timing import TimingCaches, fetch_timings, keep_timings
from fleet.errors import BuildError, OutsideError
from fleet.manifest.schema.manifest_schema import Builder
from fleet.ports import ContainerHost, JobLimits, JobResult, LogLine
from fleet.resolve.desired import EngineSpec
from runtime.contract.engine.build import EngineReport
from runtime.contract.engine.timing import TIMING_DIR

JOB_DIR, OUT_DIR = "/job", "/out"
COMMAND = ("python3", "-m", "runtime.engines.build.job", "--job", JOB_DIR, "--out", OUT_DIR)

LABEL_JOB = "io.jetfleet.job"
"""Engine key of a builder container."""
LABEL_OWNER = "io.jetfleet.owner"
"""Who started it (:func:`owner`): what carries our name and our key while we hold the key's lock is a leftover."""
LABEL_RUN = "io.jetfleet.run"
"""One `fleet build`, so that Ctrl-C stops what this run started and nothing else."""


@dataclass(frozen=True, slots=True)
class BuiltEngine:
    """An engine on this machine's disk, checked against its job."""

    spec: EngineSpec
    folder: Path
    """Holds the engine, ``engine.json``, ``golden.npz`` and ``report.json``."""
    report: EngineReport
    seconds: float
    """From copying the inputs in to the checked result."""
    notes: tuple[str, ...] = ()
    """What a person should know that is not about the engine: timing caches that were not fetched or kept."""


def owner() -> str:
    """Return the name of all `fleet` processes that share our locks: this machine and cache folder."""
    return f"{socket.gethostname()}/{hashlib.sha256(str(cache_dir().resolve()).encode()).hexdigest()[:12]}"


def run_builder(
    spec: EngineSpec,
    host: ContainerHost,
    image: str,
    model: Path,
    work_dir: Path,
    *,
    run_id: str,
    stopped: threading.Event,
    on_log: LogLine,
    timing: TimingCaches | None,
) -> BuiltEngine:
    """Build one engine. Raises BuildError, EngineGateError, DockerError; OutsideError once ``stopped`` is set."""
    started = time.monotonic()
    timeout = spec.profile.builder.timeout
    with locked(f"engine-{spec.tag}", f"building {describe(spec)}", deadline_s=timeout, give_up=stopped.is_set):
        try:
            _fresh(work_dir)
            host.remove_containers({LABEL_JOB: spec.key, LABEL_OWNER: owner()})
            if stopped.is_set():
                raise OutsideError(
                    f"{describe(spec)}: stopped before its builder started", hint="run fleet build again"
                )
            notes = fetch_timings(timing, spec, work_dir / TIMING_DIR)
            result = _run(spec, host, image, model, work_dir, run_id, on_log)
            report = _take(spec, result, work_dir)
            notes += keep_timings(timing, spec, report, work_dir / TIMING_DIR, work_dir / "result")
        except OSError as error:
            raise BuildError(
                f"{describe(spec)}: cannot use the work folder {work_dir}: {error}",
                hint="make room there, or set TMPDIR to a disk with room, then run fleet build again",
            ) from error
    return BuiltEngine(spec, work_dir / "result", report, time.monotonic() - started, tuple(notes))


def limits_of(builder: Builder) -> JobLimits:
    """Return what a job of a profile may take."""
    return JobLimits(builder.memory, builder.pids, builder.disk, builder.output)


def _fresh(work_dir: Path) -> None:
    if work_dir.exists():
        shutil.rmtree(work_dir)
    work_dir.mkdir(parents=True)


def _run(
    spec: EngineSpec, host: ContainerHost, image: str, model: Path, work_dir: Path, run_id: str, on_log: LogLine
) -> JobResult:
    inputs = work_dir / "inputs.tar"
    try:
        with inputs.open("w+b") as file:
            write_inputs(spec, model, file, timings=work_dir / TIMING_DIR)
            file.seek(0)
            return host.run_job(
                image, COMMAND, inputs=file, input_dir=JOB_DIR, output_dir=OUT_DIR, output_to=work_dir / "output.tar",
                labels={LABEL_JOB: spec.key, LABEL_OWNER: owner(), LABEL_RUN: run_id},
                deadline_s=spec.profile.builder.timeout, on_log=on_log, jetson=spec.profile.module is not None,
                limits=limits_of(spec.profile.builder),
            )  # fmt: skip
    finally:
        inputs.unlink(missing_ok=True)


def _take(spec: EngineSpec, result: JobResult, work_dir: Path) -> EngineReport:
    folder = work_dir / "result"
    folder.mkdir()
    if result.output is not None:
        unpack_outputs(result.output, folder, limits_of(spec.profile.builder).output_bytes)
        result.output.unlink()
    return read_answer(spec, result, folder)
