"""The search for the fastest mix on a profile's own builder: one container, which outlives the run that started it.

What the search knows is copied out when the container ends, whatever way, and into the next one.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from fleet.build.builder_jobs import JOB_DIR, LABEL_FLEET, LABEL_OWNER, OUT_DIR, discard, owner
from fleet.build.check_result import describe
from fleet.build.job import limits_of
from fleet.build.job_archive import unpack_outputs, write_inputs
from fleet.errors import BuildError, FleetError, JobExists, JobGone
from fleet.ports import RUNNING, ContainerHost, JobResult, LogLine
from fleet.resolve.desired import EngineSpec
from fleet.resolve.images.image_files import SEARCH_MODULE, search_sources
from fleet.tar_entries import PlainTarInfo
from runtime.contract.codec import ContractError, T, canonical_json, from_json
from runtime.contract.engine.build import FAILURE_FILE, BuildFailure
from runtime.contract.engine.tuning import ANSWER_FILE, STATE_FILE, TUNE_FILE, TuneAnswer, TuneJob

COMMAND = ("python3", "-m", SEARCH_MODULE, "--job", JOB_DIR, "--out", OUT_DIR)
"""Runs in the image's work folder, ``/job``: Python takes `runtime` from there, with the search in it."""
LABEL_TUNE = "io.jetfleet.tune"
"""What is asked, as a digest: `fleet build` neither goes on with such a container nor removes it."""
_SPARE_S = 300.0
"""Beside the search itself: start, calibration of the last trial, measuring the fastest in turn."""
_TAIL_LINES = 20
_TURNS = 4
_MOST_STATE = 64 << 20
EXIT_FAILED = 3
"""Of the search: it could not begin, and says why."""


def tune_on_builder(
    asked: TuneJob,
    spec: EngineSpec,
    host: ContainerHost,
    image: str,
    model: Path,
    work_dir: Path,
    state: Path,
    *,
    fleet: str,
    on_log: LogLine,
) -> TuneAnswer:
    """Search on the builder, or go on with the container that searches there for the same question.

    ``spec``: the int8 engine where there is one: its calibration data goes along. ``state``: a file here, read and
    written. Raises BuildError, DockerError.
    """
    digest = hashlib.sha256(
        b"\n".join(
            [canonical_json(asked), str(host.image_id(image)).encode(), *search_sources(spec.profile.backend).values()]
        )
    ).hexdigest()
    name = f"jetfleet-tune-{digest[:20]}"
    for _ in range(_TURNS):
        with suppress(JobGone):  # whoever it belonged to has its answer, and removed it
            result = _run(asked, spec, host, image, model, work_dir, state, name, digest, fleet, on_log)
            break
    else:
        raise BuildError(
            f"{describe(spec)}: others start and remove the search on {host.endpoint} again and again",
            hint="see who else tunes this model there (docker ps), then run the command again",
        )
    folder = work_dir / "result"
    folder.mkdir()
    try:
        if result.output is not None:
            _keep_state(result.output, state)
            if result.exit_code in (0, EXIT_FAILED):  # one that was killed leaves half-made engines
                unpack_outputs(result.output, folder, limits_of(spec.profile.builder).output_bytes)
        return _answer(spec, result, folder)
    finally:
        discard(host, name)


def _keep_state(archive: Path, state: Path) -> None:
    """Take what is known out of a container's output, also of one that was killed. Raises BuildError."""
    try:
        with tarfile.open(archive, mode="r:", tarinfo=PlainTarInfo) as tar:
            for entry in tar:
                if entry.name == f"{Path(OUT_DIR).name}/{STATE_FILE}" and entry.isreg() and entry.size <= _MOST_STATE:
                    source = tar.extractfile(entry)
                    assert source is not None  # a plain file has content
                    state.parent.mkdir(parents=True, exist_ok=True)
                    temporary = state.with_name(f".{state.name}.tmp")
                    temporary.write_bytes(source.read())
                    temporary.replace(state)
    except tarfile.TarError as error:
        raise BuildError(
            f"the builder's answer is not a readable archive: {error}", hint="run the command again"
        ) from error


def _run(
    asked: TuneJob,
    spec: EngineSpec,
    host: ContainerHost,
    image: str,
    model: Path,
    work_dir: Path,
    state: Path,
    name: str,
    digest: str,
    fleet: str,
    on_log: LogLine,
) -> JobResult:
    limits, deadline_s = limits_of(spec.profile.builder), asked.seconds + _SPARE_S
    facts = next((each for each in host.jobs({LABEL_TUNE: digest}) if each.name == name), None)
    if facts is None:
        inputs = _archive(asked, spec, model, state, work_dir / "inputs.tar")
        try:
            with inputs.open("rb") as file:
                return host.run_job(
                    image, COMMAND, inputs=file, input_dir=JOB_DIR, output_dir=OUT_DIR,
                    output_to=work_dir / "output.tar", name=name, labels=_labels(fleet, digest), deadline_s=deadline_s,
                    on_log=on_log, jetson=spec.profile.module is not None, limits=limits,
                )  # fmt: skip
        except JobExists:
            on_log("another operator has just begun the same search: going on with theirs")
        finally:
            inputs.unlink(missing_ok=True)
    else:
        on_log(f"going on with the search that is {'running' if facts.state == RUNNING else 'ended'} there")
    return host.follow_job(
        name, output_dir=OUT_DIR, output_to=work_dir / "output.tar", deadline_s=deadline_s, on_log=on_log, limits=limits
    )


def _labels(fleet: str, digest: str) -> Mapping[str, str]:
    return {LABEL_TUNE: digest, LABEL_FLEET: fleet, LABEL_OWNER: owner()}


def _archive(asked: TuneJob, spec: EngineSpec, model: Path, state: Path, target: Path) -> Path:
    """Write a build job's inputs, with the question and what is known already."""
    with target.open("w+b") as file:
        write_inputs(spec, model, file)
    with tarfile.open(target, mode="a") as tar:
        _add(tar, TUNE_FILE, canonical_json(asked))
        for path, content in search_sources(spec.profile.backend).items():
            _add(tar, path, content)
        if state.is_file():
            _add(tar, STATE_FILE, state.read_bytes())
    return target


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o644
    tar.addfile(entry, io.BytesIO(content))


def _answer(spec: EngineSpec, result: JobResult, folder: Path) -> TuneAnswer:
    if (folder / FAILURE_FILE).is_file():
        failure = _document(BuildFailure, folder / FAILURE_FILE, spec)
        raise BuildError(f"{describe(spec)}: {failure.message}", hint=failure.hint)
    if not (folder / ANSWER_FILE).is_file():
        how = (
            "was killed, out of memory most likely" if result.oom_killed else f"ended with exit code {result.exit_code}"
        )
        tail = "\n".join(f"  {line}" for line in result.log_tail.strip().splitlines()[-_TAIL_LINES:])
        raise BuildError(
            f"{describe(spec)}: the search on {spec.profile.builder.endpoint} {how}; its last lines:\n{tail}",
            hint="run the command again: it goes on with what was tried",
        )
    return _document(TuneAnswer, folder / ANSWER_FILE, spec)


def _document(cls: type[T], path: Path, spec: EngineSpec) -> T:
    try:
        return from_json(cls, path.read_bytes())
    except ContractError as error:
        raise FleetError(f"{describe(spec)}: the builder's answer cannot be read: {error}") from error
