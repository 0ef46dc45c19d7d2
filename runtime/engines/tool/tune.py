"""The fastest mix of precisions that passes the gates: of a job's folder, on this machine, in a process of its own.

``python3 -m runtime.engines.tool.tune --job /job --out /out`` is the same in a builder's container: ``/job`` holds the
question and the state of an earlier run, ``/out`` the answer and the state.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from runtime.contract.codec import ContractError, canonical_json, from_json
from runtime.contract.engine.build import FAILURE_FILE, MODEL_FILE, BuildFailure, BuildJob
from runtime.contract.engine.engine_tool import TuneRequest
from runtime.contract.engine.tuning import ANSWER_FILE, STATE_FILE, TUNE_FILE, TuneAnswer, TuneJob
from runtime.engines.backend import Progress, backend_named
from runtime.engines.build.job import EXIT_BUILT, EXIT_FAILED, Log, check_source, explained
from runtime.engines.build.resolved_job import resolved
from runtime.engines.device.device_facts import read_jetson
from runtime.engines.device.preflight import check_builder
from runtime.engines.errors import EngineError
from runtime.engines.store import write_atomic
from runtime.engines.tool.tuning.search import Search


def run(request: TuneRequest, progress: Progress) -> TuneAnswer:
    """Search. Raises EngineError."""
    folder = Path(request.folder)
    asked = read_tune_job(folder)
    first = next(iter(asked.jobs.values()))
    backend = backend_named(first.backend)
    check_source(first, folder)
    jobs = {precision: resolved(job, folder / MODEL_FILE) for precision, job in asked.jobs.items()}
    asked = replace(asked, jobs=jobs)
    check_builder(first.device, backend.device_facts(), read_jetson())
    search = Search(asked, folder, Path(request.state), backend, progress)
    try:
        return search.run()
    finally:
        search.close()


def read_tune_job(folder: Path) -> TuneJob:
    """Read and check the question. Raises EngineError ``internal``."""
    try:
        asked = from_json(TuneJob, (folder / TUNE_FILE).read_bytes())
    except (OSError, ContractError) as error:
        raise EngineError(
            "internal", f"{TUNE_FILE} cannot be read: {error}", "builder image and fleet must be of the same version"
        ) from error
    if not asked.jobs or any(_source(job) != _source(next(iter(asked.jobs.values()))) for job in asked.jobs.values()):
        raise EngineError("internal", f"{TUNE_FILE} holds no jobs of one model", "ask with fleet of this version")
    return asked


def _source(job: BuildJob) -> tuple[object, ...]:
    return job.model, job.onnx_sha256, job.backend, job.device, job.inputs, job.outputs


def main(arguments: list[str] | None = None) -> int:
    """Entry point in a builder's container."""
    parser = argparse.ArgumentParser(prog="runtime.engines.tool.tune", description="Find the fastest mix.")
    parser.add_argument("--job", type=Path, required=True, help="folder with tune.json, model.onnx, golden.npz")
    parser.add_argument("--out", type=Path, required=True, help="folder for answer and state")
    options = parser.parse_args(arguments)
    log = Log()
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    if not (out / STATE_FILE).is_file() and (options.job / STATE_FILE).is_file():
        shutil.copyfile(options.job / STATE_FILE, out / STATE_FILE)
    try:
        answer = run(TuneRequest(str(options.job), str(out)), log)
    except Exception as error:  # noqa: BLE001  (the boundary: what is not foreseen is reported whole, not lost)
        failure = explained(error)
        log(f"failed: {failure}")
        said = BuildFailure(failure.kind, failure.message, failure.hint, failure.detail)
        write_atomic(out / FAILURE_FILE, canonical_json(said))
        return EXIT_FAILED
    finally:
        _leave_documents(out)
    write_atomic(out / ANSWER_FILE, canonical_json(answer))
    log("done")
    return EXIT_BUILT


def _leave_documents(out: Path) -> None:
    """Remove engines, caches and the lock: what a builder hands over is plain files, and these stay behind."""
    for path in out.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name.startswith("."):
            path.unlink()


if __name__ == "__main__":
    sys.exit(main())
