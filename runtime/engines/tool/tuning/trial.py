"""One mix built afresh and judged as a builder does it; what a refused one came to is measured too, for the table."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from runtime.contract.codec import from_json
from runtime.contract.engine.build import (
    CALIBRATION_DIR,
    GOLDEN_FILE,
    IDENTITY_FILE,
    MODEL_FILE,
    REPORT_FILE,
    TIMING_CACHE_FILE,
    BuildJob,
    EngineReport,
)
from runtime.contract.engine.timing import TIMING_DIR
from runtime.contract.engine.tuning import ACCURACY, FAILED, LATENCY, PASSED, PRECISION, Mix, TuneJob, TuneTrial
from runtime.engines.backend import Backend, BuildPaths, BuiltEngine, Progress
from runtime.engines.build.calibration_sequence import with_front
from runtime.engines.build.measure import finish
from runtime.engines.errors import EngineError
from runtime.engines.tool.tuning.keep_state import mix_digest

_GATES = {"accuracy": ACCURACY, "latency": LATENCY, "precision": PRECISION}
_OF_ALL = ("bad-model", "golden", "device-mismatch", "corrupt")
"""Failures that every other mix would have too: the search ends with them."""


def job_of(asked: TuneJob, mix: Mix, deadline_s: float | None = None) -> BuildJob:
    """Return the job of one mix: its precision's gates, its own options."""
    job = asked.jobs[mix.precision]
    return replace(
        job,
        key=mix_digest(mix),
        options=replace(mix.options, dla_core=job.options.dla_core, workspace_bytes=job.options.workspace_bytes),
        bench_seconds=asked.bench_seconds,
        deadline_s=deadline_s,
    )


def run_trial(
    job: BuildJob, mix: Mix, backend: Backend, *, folder: Path, out: Path, cache: Path, log: Progress
) -> TuneTrial:
    """Build ``mix`` into ``out``. Raises EngineError for what has nothing to do with the mix."""
    started = time.monotonic()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    cache.mkdir(parents=True, exist_ok=True)
    calibration = folder / CALIBRATION_DIR
    paths = BuildPaths(
        folder / MODEL_FILE,
        calibration if calibration.exists() else None,
        out,
        timing_cache=folder / TIMING_CACHE_FILE,
        timing_folder=folder / TIMING_DIR,
        cache=cache,
        sequence=partial(with_front, job),
    )
    try:
        built = backend.build(job, paths, log)
    except EngineError as error:
        return _ended(mix, error, started)
    seconds = time.monotonic() - started
    try:
        report = finish(job, backend, built, folder=folder, out=out, log=log, build_seconds=seconds, started=started)
    except EngineError as error:
        if not error.is_gate:
            return _ended(mix, error, started)
        report = _waived(job, backend, built, folder, out, log, seconds, started)
        return _judged(mix, _GATES[error.kind], error.message, report, started)
    return _judged(mix, PASSED, "", report, started)


def _waived(
    job: BuildJob,
    backend: Backend,
    built: BuiltEngine,
    folder: Path,
    out: Path,
    log: Progress,
    seconds: float,
    started: float,
) -> EngineReport:
    """Measure a refused engine with its gates set aside; leave nothing of it that could be taken for a good one."""
    waived = replace(
        job,
        enforce_accuracy=False,
        max_latency_p99_ms=None,
        options=replace(job.options, allow_mixed_precision=True),
    )
    try:
        return finish(waived, backend, built, folder=folder, out=out, log=log, build_seconds=seconds, started=started)
    finally:
        for name in (IDENTITY_FILE, GOLDEN_FILE, built.file.name):
            (out / name).unlink(missing_ok=True)


def _judged(mix: Mix, verdict: str, why: str, report: EngineReport, started: float) -> TuneTrial:
    main = report.extra.get("main_layer_precisions", report.layer_precisions)
    return TuneTrial(
        mix=mix,
        verdict=verdict,
        why=why,
        accuracy=report.accuracy,
        golden_accuracy=report.golden_accuracy,
        decoded=report.decoded,
        metric=report.metric,
        latency=report.latency,
        main_precisions=dict(main),
        engine_bytes=report.identity.engine_bytes,
        seconds=time.monotonic() - started,
    )


def _ended(mix: Mix, error: EngineError, started: float) -> TuneTrial:
    if error.kind in _OF_ALL:
        raise error
    verdict = _GATES.get(error.kind, FAILED)
    return TuneTrial(mix, verdict, error.message, seconds=time.monotonic() - started)


def layer_times(out: Path) -> list[tuple[tuple[str, ...], float]]:
    """Return (ONNX nodes, milliseconds) of each layer of an engine that was built into ``out``.

    Empty where its report has no times. TensorRT joins the names of what it fuses with `` + ``.
    """
    path = out / REPORT_FILE
    if not path.is_file():
        return []
    rows = from_json(EngineReport, path.read_bytes()).extra.get("layers") or ()
    return [
        (tuple(row.get("nodes") or str(row["name"]).split(" + ")), float(row["ms"]))
        for row in rows
        if row.get("ms") is not None
    ]
