"""Build what a job folder asks for, with the very code of the builder container's job."""

from __future__ import annotations

import shutil
from pathlib import Path

from runtime.contract.codec import from_json
from runtime.contract.engine.build import FAILURE_FILE, REPORT_FILE, TIMING_CACHE_FILE, BuildFailure, EngineReport
from runtime.contract.engine.engine_tool import JobRequest
from runtime.engines.backend import Progress
from runtime.engines.build import job
from runtime.engines.errors import EngineError
from runtime.engines.store import write_atomic


def run(request: JobRequest, _progress: Progress) -> EngineReport:
    """Build; the job prints its own progress. Raises EngineError with what ``failure.json`` says."""
    return build(Path(request.folder), Path(request.out), request.timing_cache)


def build(folder: Path, out: Path, timing_cache: str | None) -> EngineReport:
    """Run the job and return its report. Raises EngineError.

    ``timing_cache``: what earlier builds measured, where that file is there; this build's is left in it.
    """
    kept = Path(timing_cache) if timing_cache is not None else None
    if kept is not None and kept.is_file():
        shutil.copyfile(kept, folder / TIMING_CACHE_FILE)
    if job.run(folder, out) != job.EXIT_BUILT:
        failure = from_json(BuildFailure, (out / FAILURE_FILE).read_bytes())
        error = EngineError(failure.kind, failure.message, failure.hint, detail=failure.detail)
        error.sensitivity = failure.sensitivity
        raise error
    measured = out / TIMING_CACHE_FILE
    if kept is not None and measured.is_file():
        write_atomic(kept, measured.read_bytes())
    return from_json(EngineReport, (out / REPORT_FILE).read_bytes())
