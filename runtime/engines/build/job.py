"""One engine built, in a builder container: ``python -m runtime.engines.build.job --job /job --out /out``.

Reads the job archive's files, writes engine, sidecar, golden data and report, or ``failure.json`` alone. Exit codes:
0 built · 3 no engine could be built · 4 the engine was built and a gate refused it.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from functools import partial
from pathlib import Path

from runtime.contract.codec import ContractError, canonical_json, from_json
from runtime.contract.engine.build import (
    CALIBRATION_DIR,
    FAILURE_FILE,
    GOLDEN_FILE,
    IDENTITY_FILE,
    JOB_FILE,
    MODEL_FILE,
    REPORT_FILE,
    TIMING_CACHE_FILE,
    BuildFailure,
    BuildJob,
)
from runtime.contract.engine.sensitivity import Sensitivity
from runtime.contract.engine.timing import TIMING_DIR
from runtime.engines.backend import BuildPaths, Progress, backend_named
from runtime.engines.device.device_facts import read_jetson
from runtime.engines.device.preflight import check_builder
from runtime.engines.errors import EngineError
from runtime.engines.store import sha256_of, write_atomic

EXIT_BUILT, EXIT_FAILED, EXIT_GATE = 0, 3, 4
_RESULTS = (IDENTITY_FILE, GOLDEN_FILE, REPORT_FILE, FAILURE_FILE, TIMING_CACHE_FILE)


class Log:
    """Progress lines on stdout, each with the seconds since the start."""

    def __init__(self) -> None:
        self.started = time.monotonic()

    def elapsed(self) -> float:
        """Return seconds since the start."""
        return time.monotonic() - self.started

    def __call__(self, line: str) -> None:
        """Print one line."""
        print(f"[{self.elapsed():7.1f}s] {line}", flush=True)


def read_job(folder: Path) -> BuildJob:
    """Read ``job.json`` and check the model against it; put states among its inputs and outputs. Raises EngineError."""
    from runtime.engines.build.resolved_job import resolved

    try:
        job = from_json(BuildJob, (folder / JOB_FILE).read_bytes())
    except (OSError, ContractError) as error:
        raise EngineError(
            "internal", f"{JOB_FILE} cannot be read: {error}", "builder image and fleet must be of the same version"
        ) from error
    check_source(job, folder)
    return resolved(job, folder / MODEL_FILE)


def check_source(job: BuildJob, folder: Path) -> None:
    """Hold the model and its weights in ``folder`` against what the job pins. Raises EngineError."""
    model = folder / MODEL_FILE
    if not model.is_file():
        raise EngineError("bad-model", f"the job has no {MODEL_FILE}", "check the model's source in the manifest")
    found = sha256_of(model)
    if found != job.onnx_sha256:
        raise EngineError(
            "bad-model",
            f"{MODEL_FILE} has sha256 {found[:12]}…, the job says {job.onnx_sha256[:12]}…",
            "the model changed after it was pinned: update source.sha256 or restore the file",
        )
    _check_weights(job, folder, model)


def _check_weights(job: BuildJob, folder: Path, model: Path) -> None:
    """Check the files that hold the model's weights: those that the job names, and no others. Raises EngineError."""
    import onnx

    from runtime.contract.engine.onnx_tensors import external_files, why_not_beside

    for name, digest in job.external.items():
        path = folder / name
        if why_not_beside(name) or not path.is_file():
            raise EngineError("bad-model", f"the job has no file {name!r} of weights", "check source.data")
        found = sha256_of(path)
        if found != digest:
            raise EngineError(
                "bad-model",
                f"{name} has sha256 {found[:12]}…, the job says {digest[:12]}…",
                "the weights changed after they were pinned: update source.data or restore the file",
            )
    try:
        there = external_files(onnx.load(str(model), load_external_data=False))
    except Exception:  # noqa: BLE001  (what is no ONNX file is said by whoever loads it)
        return
    missing = sorted(set(there) - set(job.external))
    if missing:
        raise EngineError(
            "bad-model",
            f"the model keeps weights in {missing[0]!r}, which the job does not pin",
            "name it under source.data, or save the model as one file",
        )


def build(folder: Path, out: Path, log: Progress, started: float) -> None:
    """Build one engine into ``out``. Raises EngineError; ``out`` may then hold some of the files."""
    # What quantization and measurement import takes a second: a job that cannot be read fails without it.
    from runtime.engines.build.calibration_sequence import with_front
    from runtime.engines.build.fitting_size import with_fitting_size
    from runtime.engines.build.measure import finish
    from runtime.engines.golden.task_metric import check_metric

    job = read_job(folder)
    if job.metric is not None:
        check_metric(job.metric, job.inputs, [spec.name for spec in job.outputs])
    backend = backend_named(job.backend)
    found = backend.device_facts()
    log(f"building {job.model} at {job.precision} with {job.backend} on {found.platform}, key {job.key[:19]}…")
    check_builder(job.device, found, read_jetson())
    calibration = folder / CALIBRATION_DIR
    paths = BuildPaths(
        folder / MODEL_FILE,
        calibration if calibration.exists() else None,
        out,
        timing_cache=folder / TIMING_CACHE_FILE,
        timing_folder=folder / TIMING_DIR,
        sequence=partial(with_front, job),
    )
    before = time.monotonic()
    try:
        built = backend.build(job, paths, log)
    except EngineError as error:
        raise with_fitting_size(error, paths.model, job) from error
    seconds = time.monotonic() - before
    finish(job, backend, built, folder=folder, out=out, log=log, build_seconds=seconds, started=started)


def clear(out: Path) -> None:
    """Remove results, whole or half, of this run or an earlier one; nothing else."""
    for item in out.iterdir():
        name = item.name.removeprefix(".").removesuffix(".tmp")
        if item.is_file() and (name in _RESULTS or name.startswith("engine.")):
            item.unlink()


def fail(out: Path, error: EngineError) -> int:
    """Leave ``failure.json`` as the only result; return the exit code."""
    clear(out)
    failure = BuildFailure(error.kind, error.message, error.hint, error.detail, error.sensitivity)
    write_atomic(out / FAILURE_FILE, canonical_json(failure))
    return EXIT_GATE if error.is_gate else EXIT_FAILED


def run(folder: Path, out: Path) -> int:
    """Run the job; return its exit code. Every failure but an interruption ends in ``failure.json``."""
    log = Log()
    out.mkdir(parents=True, exist_ok=True)
    clear(out)
    try:
        build(folder, out, log, log.started)
    except Exception as error:  # noqa: BLE001  (the boundary: what is not foreseen is reported whole, not lost)
        failure = explained(error)
        log(f"failed: {failure}")
        code = fail(out, failure)
        if failure.kind == "accuracy":  # the answer is written already: whatever happens now, it is not lost
            failure.sensitivity = _sensitivity(folder, log)
            fail(out, failure)
        return code
    log("done")
    return EXIT_BUILT


def _sensitivity(folder: Path, log: Log) -> Sensitivity | None:
    """Return which nodes cost the accuracy, or why that could not be measured; None where nothing was lowered."""
    from runtime.engines.build.diagnose import diagnose

    job = read_job(folder)
    if job.precision not in ("fp16", "int8"):
        return None
    log("looking for the nodes that cost the accuracy")
    try:
        return diagnose(job, folder, log, elapsed_s=log.elapsed())
    except Exception as error:  # noqa: BLE001  (the gate has spoken: this only adds to it, and says when it cannot)
        why = explained(error).message
        log(f"no sensitivity report: {why}")
        return Sensitivity(job.precision, (), (), (), False, None, None, bound="", note=f"not measured: {why}")


def explained(error: Exception) -> EngineError:
    """Return any failure as one with a kind, a sentence and what to do."""
    if isinstance(error, EngineError):
        return error
    if isinstance(error, MemoryError):
        return EngineError("memory", "the builder ran out of memory", "give the builder more memory")
    text = "".join(traceback.format_exception(error))
    return EngineError(
        "internal", f"{type(error).__name__}: {error}", "this is a defect: report it with the log", detail=text
    )


def main(arguments: list[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="runtime.engines.build.job", description="Build one engine.")
    parser.add_argument("--job", type=Path, required=True, help="folder with job.json, model.onnx, golden.npz")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    options = parser.parse_args(arguments)
    return run(options.job, options.out)


if __name__ == "__main__":
    sys.exit(main())
