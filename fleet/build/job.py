"""One engine: one builder container, from the inputs' archive to a checked result folder."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fleet.build import builder_jobs
from fleet.build.builder_jobs import JOB_DIR, OUT_DIR, discard
from fleet.build.cache import locked
from fleet.build.check_result import describe, read_answer
from fleet.build.job_archive import unpack_outputs, write_inputs
from fleet.build.timing import TimingCaches, fetch_timings, keep_timings
from fleet.errors import BuilderLost, BuildError, FleetError, JobExists, JobGone, OutsideError
from fleet.manifest.schema.manifest_schema import Builder
from fleet.ports import RUNNING, ContainerHost, JobFacts, JobLimits, JobResult, LogLine
from fleet.resolve.desired import EngineSpec
from runtime.contract.engine.build import EngineReport
from runtime.contract.engine.timing import TIMING_DIR

_LOOK_S = 0.5
_TURNS = 8
"""How often another's container may vanish or appear under our hands before we say so."""


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
    container: str = ""
    """The builder's container, which still holds the result."""


@dataclass(frozen=True, slots=True)
class BuildRun:
    """One `fleet build`: what all of its builders have in common."""

    fleet: str
    id: str
    stopped: threading.Event
    """Set when it was interrupted."""
    is_there: Callable[[EngineSpec], bool]
    """Whether the registry has an engine by now: another operator may have built it meanwhile."""


def run_builder(
    spec: EngineSpec,
    host: ContainerHost,
    image: str,
    model: Path,
    work_dir: Path,
    *,
    run: BuildRun,
    on_log: LogLine,
    timing: TimingCaches | None,
) -> BuiltEngine | None:
    """Build one engine, or go on with the builder that somebody started for it; None: another operator has pushed it.

    Its container stays, for `discard` once the engine is pushed. Raises BuildError, EngineGateError, DockerError;
    OutsideError once ``run.stopped`` is set.
    """
    started = time.monotonic()
    timeout = spec.profile.builder.timeout
    with locked(f"engine-{spec.tag}", f"building {describe(spec)}", deadline_s=timeout, give_up=run.stopped.is_set):
        try:
            _fresh(work_dir)
            notes = fetch_timings(timing, spec, work_dir / TIMING_DIR)
            turn = _Turn(spec, host, image, model, work_dir, run, on_log)
            result = turn.result()
            if result is None:
                return None
            report = turn.take(result)
            notes += keep_timings(timing, spec, report, work_dir / TIMING_DIR, work_dir / "result")
        except OSError as error:
            raise BuildError(
                f"{describe(spec)}: cannot use the work folder {work_dir}: {error}",
                hint="make room there, or set TMPDIR to a disk with room, then run fleet build again",
            ) from error
    return BuiltEngine(spec, work_dir / "result", report, time.monotonic() - started, tuple(notes), turn.name)


def limits_of(builder: Builder) -> JobLimits:
    """Return what a job of a profile may take."""
    return JobLimits(builder.memory, builder.pids, builder.disk, builder.output)


def _fresh(work_dir: Path) -> None:
    if work_dir.exists():
        shutil.rmtree(work_dir)
    work_dir.mkdir(parents=True)


class _Turn:
    """One engine's turn on its builder, under the key's lock."""

    def __init__(
        self,
        spec: EngineSpec,
        host: ContainerHost,
        image: str,
        model: Path,
        work_dir: Path,
        run: BuildRun,
        on_log: LogLine,
    ) -> None:
        self._spec, self._host, self._image, self._model = spec, host, image, model
        self._work_dir, self._run, self._on_log = work_dir, run, on_log
        self._image_id = host.image_id(image)
        self.name = builder_jobs.job_name(run.fleet, spec, self._image_id)

    def result(self) -> JobResult | None:
        """Return how the builder ended, ours or one that was there; None when another operator pushed its engine."""
        builder_jobs.remove_own_leftovers(self._host, self._spec, keep=self.name)
        for _ in range(_TURNS):
            facts = self._settled()
            try:
                if facts is None:
                    return self._begin()
                if builder_jobs.can_go_on(facts, self._image_id):
                    return self._go_on(facts)
                self._host.remove_job(self.name)
            except JobExists:
                continue  # another operator was quicker
            except JobGone:
                self._check_stopped()  # an interruption removes what we started
                if self._run.is_there(self._spec):
                    return None
            except BuilderLost as error:
                raise BuilderLost(
                    f"{describe(self._spec)}: its builder was lost: {error.message}",
                    hint=f"if that machine runs, the build goes on there: run fleet build again, it goes on with it. "
                    f"{error.hint}",
                ) from error
        raise BuildError(
            f"{describe(self._spec)}: others start and remove its builder {self.name} on {self._host.endpoint} again "
            f"and again",
            hint="see who else builds this fleet there (docker ps), then run fleet build again",
        )

    def _settled(self) -> JobFacts | None:
        """Return the container of this job, if there is one; wait while another operator still fills it."""
        wanted = {builder_jobs.LABEL_FLEET: self._run.fleet, builder_jobs.LABEL_JOB: self._spec.key}
        while True:
            self._check_stopped()
            facts = next((each for each in self._host.jobs(wanted) if each.name == self.name), None)
            if facts is None or not builder_jobs.is_copying(facts):
                return facts
            self._on_log("another operator has just begun to build it")
            self._run.stopped.wait(_LOOK_S)

    def _check_stopped(self) -> None:
        if self._run.stopped.is_set():
            what = describe(self._spec)
            raise OutsideError(f"{what}: stopped before its builder started", hint="run fleet build again")

    def _begin(self) -> JobResult:
        spec, builder = self._spec, self._spec.profile.builder
        inputs = self._work_dir / "inputs.tar"
        try:
            with inputs.open("w+b") as file:
                write_inputs(spec, self._model, file, timings=self._work_dir / TIMING_DIR)
                file.seek(0)
                return self._host.run_job(
                    self._image, builder_jobs.COMMAND, inputs=file, input_dir=JOB_DIR, output_dir=OUT_DIR,
                    output_to=self._work_dir / "output.tar", name=self.name,
                    labels=builder_jobs.labels_of(self._run.fleet, spec, self._run.id),
                    deadline_s=builder.timeout, on_log=self._on_log, jetson=spec.profile.module is not None,
                    limits=limits_of(builder), give_up=self._run.stopped.is_set,
                )  # fmt: skip
        finally:
            inputs.unlink(missing_ok=True)

    def _go_on(self, facts: JobFacts) -> JobResult:
        builder = self._spec.profile.builder
        runs = facts.state == RUNNING
        who = facts.labels.get(builder_jobs.LABEL_OWNER, "somebody")
        self._on_log(f"going on with the builder that {who} started, {'running' if runs else 'ended'} since "
                     f"{facts.since_s:.0f} s")  # fmt: skip
        return self._host.follow_job(
            self.name, output_dir=OUT_DIR, output_to=self._work_dir / "output.tar",
            deadline_s=max(1.0, builder.timeout - facts.since_s) if runs else builder.timeout,
            on_log=self._on_log, limits=limits_of(builder), give_up=self._run.stopped.is_set,
        )  # fmt: skip

    def take(self, result: JobResult) -> EngineReport:
        """Unpack and check the builder's answer. An answer that is no engine ends the container: it is said now."""
        folder = self._work_dir / "result"
        folder.mkdir()
        try:
            if result.output is not None:
                unpack_outputs(result.output, folder, limits_of(self._spec.profile.builder).output_bytes)
                result.output.unlink()
            return read_answer(self._spec, result, folder)
        except FleetError:
            discard(self._host, self.name)
            raise
