"""After a failed accuracy gate: which nodes cost it, and which to leave in float. On the CPU, in ONNX Runtime."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from runtime.contract.engine.build import BuildJob
from runtime.contract.engine.sensitivity import Sensitivity
from runtime.engines.backend import Progress
from runtime.engines.build.sensitivity import (
    MOST_ALONE,
    MOST_SECONDS,
    Budget,
    Candidate,
    Found,
    search,
)
from runtime.engines.build.simulate import Simulation, declared_nodes
from runtime.engines.errors import EngineError
from runtime.engines.graph.precision import MAIN_OPERATORS
from runtime.engines.graph.shapes import fixed

CALIBRATOR = "calibrator"
_SHARE_OF_REST = 0.7
"""Of the time until the job's deadline: what is not measured by then is said to be so, and the answer gets home."""


def diagnose(
    job: BuildJob,
    folder: Path,
    log: Progress,
    *,
    elapsed_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> Sensitivity:
    """Return what a job's failed accuracy gate at int8 or fp16 comes from.

    ``folder`` is the job's, ``elapsed_s`` what the job has taken so far. Raises EngineError.
    """
    declared = declared_nodes(job)
    if job.options.int8 is not None and job.options.int8.method == CALIBRATOR and job.precision == "int8":
        raise EngineError(
            "calibration",
            "TensorRT's own calibrator does not support node names, so no node can stay in float",
            "use method minmax, percentile or entropy",
        )
    seconds = MOST_SECONDS
    if job.deadline_s is not None:
        seconds = min(seconds, (job.deadline_s - elapsed_s) * _SHARE_OF_REST)
    # Calibrating once more takes no longer than the build took, which did the same and more.
    if seconds <= elapsed_s and seconds < MOST_SECONDS:
        raise EngineError(
            "internal",
            f"the job has {max(seconds, 0.0):.0f} s left for it, and its build took {elapsed_s:.0f} s",
            "raise the profile's builder.timeout",
        )
    job = replace(job, inputs=fixed(job.inputs))  # golden frames have the opt shape of a range
    trial = Simulation(job, folder, log)
    candidates = trial.candidates()
    log(f"sensitivity: {len(candidates)} nodes at {job.precision}, at most {seconds:.0f} s")
    budget = Budget(seconds, clock=clock)
    found = search(candidates, trial, budget)
    return _report(job, declared, candidates, found, budget)


def _report(
    job: BuildJob, declared: tuple[str, ...], candidates: Sequence[Candidate], found: Found, budget: Budget
) -> Sensitivity:
    bound = (
        f"{found.alone} of {len(candidates)} nodes tried alone (at most {MOST_ALONE}, the noisiest), {budget.used} "
        f"graphs measured (at most {budget.trials}) in {budget.spent():.0f} s (at most {budget.seconds:.0f} s)"
    )
    return Sensitivity(
        precision=job.precision,
        nodes=found.nodes,
        keep=found.keep,
        declared=declared,
        verified=found.verified,
        min_cosine=found.outcome.min_cosine if found.outcome else None,
        max_abs_error=found.outcome.max_abs_error if found.outcome else None,
        bound=bound,
        note=_note(job, candidates, found),
    )


def _note(job: BuildJob, candidates: Sequence[Candidate], found: Found) -> str:
    whole = found.all_in_float
    if whole is not None and not whole.passes:
        return (
            f"even with all {len(candidates)} nodes in float the gate is missed (cosine {whole.min_cosine:.5f} against "
            "the fp32 source model): the precision is not the cause; check the golden data and the gate"
        )
    if not found.verified:
        return "no set of nodes was found in time: the nodes named here are a guess from single measurements"
    left = [item for item in candidates if item.operator in MAIN_OPERATORS]
    kept = [item for item in left if item.node in found.keep]
    if job.precision == "int8" and not job.options.allow_mixed_precision and 2 * len(kept) >= len(left) > 0:
        return (
            f"that leaves {len(kept)} of {len(left)} convolutions and matrix products in float, and the engine would "
            "no longer be an int8 engine: declare fp16, or try another calibration method first"
        )
    return ""
