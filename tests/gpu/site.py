"""Engines built once for many tests, by the real job: transform, build, golden data, gates, report."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from runtime.contract.codec import canonical_json, from_json
from runtime.contract.engine.build import (
    CALIBRATION_DIR,
    GOLDEN_FILE,
    JOB_FILE,
    MODEL_FILE,
    REPORT_FILE,
    AccuracyGate,
    BuildJob,
    BuildOptions,
    DeviceFacts,
    EngineReport,
    Int8Options,
    Preprocess,
    TensorSpec,
)
from runtime.engines.backend import BuildPaths
from runtime.engines.build.job import read_job
from runtime.engines.build.measure import finish
from runtime.engines.device.preflight import this_platform
from runtime.engines.errors import EngineError
from runtime.engines.store import sha256_of
from runtime.engines.tensorrt_.backend import TensorRtBackend
from tests.gpu import networks

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Network:
    """One network, its camera, and what it needs in memory."""

    make: Callable[[Path], Path]
    size: int
    camera: tuple[int, int]
    output: str

    @property
    def name(self) -> str:
        return self.make.__name__

    def image(self) -> TensorSpec:
        pre = Preprocess(*self.camera, "rgb8", "rgb", "stretch", 1 / 255, *IMAGENET)
        return TensorSpec("image", (1, 3, self.size, self.size), preprocess=pre)


NETWORKS = {
    item.name: item
    for item in (
        Network(networks.resnet50, 224, (720, 1280), "logits"),
        Network(networks.mobilenet_v2, 224, (480, 640), "logits"),
        Network(networks.lraspp, 320, (480, 640), "classes"),
        Network(networks.detector, 320, (720, 1280), "boxes"),
        Network(networks.tiny, 32, (48, 64), "logits"),
        Network(networks.identity, 224, (720, 1280), "tensor"),
    )
}
PRECISIONS = ("fp32", "fp16", "int8", "int8-calibrator")


def frames(count: int, camera: tuple[int, int], seed: int = 5) -> np.ndarray:
    """Pictures with large and small structure, unlike each other: uint8 (count, rows, columns, 3)."""
    random = np.random.default_rng(seed)
    rows, columns = camera
    y, x = np.mgrid[0:rows, 0:columns]
    found = []
    for _ in range(count):
        waves = sum(
            random.uniform(10, 60) * np.sin(random.uniform(-0.2, 0.2) * x + random.uniform(-0.2, 0.2) * y + phase)
            for phase in random.uniform(0, 6, 4)
        )
        tint = random.uniform(40, 215, 3)
        noise = random.normal(0, 8, (rows, columns, 3))
        found.append(np.clip(waves[..., None] + tint + noise, 0, 255).astype(np.uint8))
    return np.stack(found)


def options_for(precision: str, level: int, **more: object) -> BuildOptions:
    method = "calibrator" if precision == "int8-calibrator" else "minmax"
    int8 = Int8Options(method) if precision.startswith("int8") else None
    return BuildOptions(int8=int8, optimization_level=level, **more)  # type: ignore[arg-type]


def make_job(folder: Path, network: Network, precision: str, options: BuildOptions, **changes: object) -> BuildJob:
    folder.mkdir(parents=True, exist_ok=True)
    network.make(folder / MODEL_FILE)
    np.savez(folder / GOLDEN_FILE, image=frames(3, network.camera, seed=9))
    if precision.startswith("int8"):
        (folder / CALIBRATION_DIR).mkdir(exist_ok=True)
        np.savez(folder / CALIBRATION_DIR / "000.npz", image=frames(24, network.camera))
    job = BuildJob(
        key="sha256:" + "0" * 64,
        model=network.name,
        backend="tensorrt",
        precision=precision.removesuffix("-calibrator"),
        onnx_sha256=sha256_of(folder / MODEL_FILE),
        inputs=(network.image(),),
        outputs=(TensorSpec(network.output, ()),),
        options=options,
        device=DeviceFacts(platform=this_platform()),
        accuracy=AccuracyGate(0.95),
        bench_seconds=1.0,
    )
    job = replace(job, **changes)  # type: ignore[arg-type]
    (folder / JOB_FILE).write_bytes(canonical_json(job))
    return job


def backend(**options: object) -> TensorRtBackend:
    sources = tuple(filter(None, os.environ.get("JETFLEET_TACTIC_SOURCES", "").split(",")))
    return TensorRtBackend(tactic_sources=sources, **options)  # type: ignore[arg-type]


def run_job(
    folder: Path, out: Path, use: TensorRtBackend, cache: Path | None = None, log: Callable[[str], None] | None = None
) -> EngineReport:
    """What ``runtime.engines.build.job`` does, with a backend and a cache of our own. Raises EngineError."""
    started = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    say = log or (lambda line: print(f"[{time.monotonic() - started:6.1f}s] {out.name}: {line}", flush=True))
    job = read_job(folder)
    calibration = folder / CALIBRATION_DIR
    paths = BuildPaths(folder / MODEL_FILE, calibration if calibration.exists() else None, out, cache=cache)
    built = use.build(job, paths, say)
    seconds = time.monotonic() - started
    return finish(job, use, built, folder=folder, out=out, log=say, build_seconds=seconds, started=started)


class Site:
    """A folder of engines, each built when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.level = int(os.environ.get("JETFLEET_GPU_LEVEL", "1"))

    def out(self, network: str, precision: str, run: str) -> Path:
        return self.folder / f"{network}.{precision}.{run}"

    def engine(self, network: str, precision: str, run: str = "cold") -> tuple[Path, EngineReport]:
        """Return an engine's folder and report. ``cold``: built with an empty cache; ``warm``: with cold's.

        The gates for accuracy and precision only note here; tests hold the reports against them.
        """
        out = self.out(network, precision, run)
        report = out / REPORT_FILE
        failed = out / "failed.json"
        if failed.is_file():
            raise EngineError(**json.loads(failed.read_text()))
        if not report.is_file():
            if run == "warm":
                self.engine(network, precision, "cold")
            try:
                self._build(network, precision, out)
            except EngineError as error:
                failed.write_text(json.dumps({"kind": error.kind, "message": error.message, "hint": error.hint,
                                              "detail": error.detail}))  # fmt: skip
                raise
        return out, from_json(EngineReport, report.read_bytes())

    def _build(self, network: str, precision: str, out: Path) -> None:
        job = self.folder / "jobs" / f"{network}.{precision}"
        options = options_for(precision, self.level, allow_mixed_precision=True)
        make_job(job, NETWORKS[network], precision, options, enforce_accuracy=False)
        run_job(job, out, backend(deadline_s=400), self.folder / "caches" / f"{network}.{precision}")
