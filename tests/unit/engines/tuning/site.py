"""Searches over tiny models, and states that tests write by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from runtime.contract.codec import canonical_json
from runtime.contract.engine.build import AccuracyGate, BuildOptions, Int8Options, Percentiles
from runtime.contract.engine.tuning import PASSED, TUNE_FILE, Mix, RankedLine, Region, TuneJob, TuneState, TuneTrial
from tests.unit.engines.models import dead_channel, make_job

RUINED = "conv3"
"""The one convolution that int8 ruins."""


def tune_job(folder: Path, **changes: Any) -> TuneJob:
    """Write a folder whose model passes its gate at fp32, fp16, and at int8 with ``RUINED`` in float."""
    base = make_job(folder, model=dead_channel(3, weight=1e4), accuracy=AccuracyGate(0.995))
    options = {"fp32": BuildOptions(), "fp16": BuildOptions(), "int8": BuildOptions(int8=Int8Options("minmax"))}
    jobs = {name: replace(base, precision=name, options=each) for name, each in options.items()}
    job = TuneJob(**{"jobs": jobs, "bench_seconds": 0.02, **changes})
    (folder / TUNE_FILE).write_bytes(canonical_json(job))
    return job


def whole(line: str = "int8 minmax", precision: str = "int8") -> Mix:
    int8 = Int8Options(line.split()[1]) if precision == "int8" else None
    return Mix(precision, BuildOptions(int8=int8), line)


def trial(mix: Mix, verdict: str = PASSED, p50: float = 1.0) -> TuneTrial:
    return TuneTrial(mix, verdict, latency=Percentiles(p50, p50, p50, p50, 10))


def line(count: int, suggested: int, name: str = "int8 minmax") -> RankedLine:
    regions = tuple(Region(f"conv{index}", (f"conv{index}", f"act{index}")) for index in range(count))
    return RankedLine(name, regions, suggested, "")


def state(*trials: TuneTrial, **changes: Any) -> TuneState:
    return TuneState(**{"asked": "sha256:1", "trials": trials, **changes})
