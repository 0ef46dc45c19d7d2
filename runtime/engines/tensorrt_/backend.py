"""Build engines with the TensorRT that is installed here, and load them."""

from __future__ import annotations

import platform
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.contract.codec import to_dict
from runtime.contract.engine.build import (
    TIMING_CACHE_FILE,
    AccuracyGate,
    BuildJob,
    DeviceFacts,
    EngineIdentity,
    TensorSpec,
)
from runtime.contract.engine.timing import TimingFacts, timing_name
from runtime.engines.backend import BuildPaths, BuiltEngine, Progress
from runtime.engines.device.device_facts import read_jetson
from runtime.engines.device.preflight import check_engine
from runtime.engines.errors import EngineError
from runtime.engines.graph.shapes import check_ranges, has_range
from runtime.engines.store import load_engine_dir, sha256_of, write_atomic
from runtime.engines.tensorrt_.build.builder import build_plan, check_memory, choose_workspace, time_left
from runtime.engines.tensorrt_.build.graphs import choose_road, make_graph
from runtime.engines.tensorrt_.build.request import PlanAnswer, PlanRequest, ShapeRange
from runtime.engines.tensorrt_.build.timing_cache import CacheFiles, calibration_key, given_caches, timing_facts
from runtime.engines.tensorrt_.capabilities import Capabilities, detect
from runtime.engines.tensorrt_.device import ROOT, Gpu, device_facts, find_gpu, host_memory
from runtime.engines.tensorrt_.run.inspect import LayerFacts, count_layers, layer_rows, others, parse_layers
from runtime.engines.tensorrt_.run.latency import breakdown, host_percentiles
from runtime.engines.tensorrt_.run.layer_profile import layer_times
from runtime.engines.tensorrt_.run.plan import OpenPlan
from runtime.engines.tensorrt_.run.runner import TensorRtRunner
from runtime.engines.tensorrt_.versions import full_version

if TYPE_CHECKING:
    from runtime.engines.weight_loss import WeightLoss

ENGINE_FILE = "engine.plan"
DEADLINE_S = 3600.0
_MOST_NAMED = 20


class TensorRtBackend:
    """The engine is a plan: kernels chosen, by measuring them, for this very device and TensorRT."""

    name = "tensorrt"
    any_thread = False

    def __init__(
        self, *, deadline_s: float = DEADLINE_S, tactic_sources: Sequence[str] = (), root: Path = ROOT
    ) -> None:
        """``deadline_s``: for a build whose job gives none. ``tactic_sources``: names of TensorRT's TacticSource, empty
        for its default (machines without cuBLAS or cuDNN need to leave those out)."""
        self._deadline_s = deadline_s
        self._tactic_sources = tuple(tactic_sources)
        self._root = root

    def versions(self) -> dict[str, str]:
        """Return the versions of Python, numpy, TensorRT and pycuda; of the building packages where they are."""
        import numpy as np
        import pycuda
        import tensorrt as trt

        found = {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "tensorrt": full_version(trt.__version__, self._root),
            "pycuda": pycuda.VERSION_TEXT,
        }
        try:
            import onnx
            import onnxruntime
        except ImportError:  # a robot runs engines without the packages that build them
            return found
        return {**found, "onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}

    def device_facts(self) -> DeviceFacts:
        """Return what this machine is. Raises EngineError where there is no GPU."""
        import tensorrt as trt

        return device_facts(find_gpu(), trt.__version__, self._root)

    def newest_opset(self) -> int | None:
        """Return what the parser that is here reads. Raises EngineError for a TensorRT that is not supported."""
        import tensorrt as trt

        return detect(trt).newest_opset

    def build(self, job: BuildJob, paths: BuildPaths, progress: Progress) -> BuiltEngine:
        """Transform the model, build the plan in a process of its own, and count what runs. Raises EngineError."""
        import tensorrt as trt

        started = time.monotonic()
        check_ranges(job.inputs)
        capabilities, gpu = detect(trt), find_gpu()
        road = choose_road(job, capabilities)
        with tempfile.TemporaryDirectory(prefix="jetfleet-trt-") as name:
            folder = Path(name)
            losses: list[WeightLoss] = []
            keep, few = make_graph(job, paths, road, capabilities.newest_opset, folder / "graph.onnx", progress, losses)
            timing = timing_facts(self.device_facts(), gpu.name, read_jetson(self._root).power_mode)
            given, oversized = given_caches(timing_name(timing), paths.timing_cache, paths.timing_folder)
            request = self._request(job, paths, folder, gpu, keep)
            request = replace(
                request,
                calibrator=road.calibrator,
                timing_key=timing_name(timing),
                timing_given=tuple(map(str, given)),
                calibration_key=_calibration_key(timing, request.graph, paths.calibration),
            )
            memory = check_memory(
                Path(request.graph).stat().st_size,
                request.workspace_bytes,
                host_memory(self._root),
                integrated=gpu.integrated,
            )
            notes = [*few, *oversized, *memory]
            for note in notes:
                progress(note)
            caches = CacheFiles(Path(request.cache_folder), "timing")
            left = time_left(job.deadline_s or self._deadline_s, time.monotonic() - started)
            answer, request = build_plan(request, deadline_s=left, progress=progress)
            if measured := caches.read(request.timing_key):
                write_atomic(paths.out / TIMING_CACHE_FILE, measured)
            layers = parse_layers(Path(request.layers).read_text("utf-8"))
        notes += _timing_notes(len(given), request, answer)
        built = _built(job, Path(request.plan), answer, layers, notes)
        latency, times = self._measure(job, built, gpu, progress)
        facts = {**_facts(request, answer, capabilities, gpu, timing), "layers": layer_rows(layers, times)}
        return replace(built, extra={**facts, **latency}, weight_losses=tuple(losses))

    def _request(self, job: BuildJob, paths: BuildPaths, folder: Path, gpu: Gpu, keep: tuple[str, ...]) -> PlanRequest:
        graph = folder / "graph.onnx"
        return PlanRequest(
            graph=str(graph),
            plan=str(paths.out / ENGINE_FILE),
            layers=str(folder / "layers.json"),
            precision=job.precision,
            workspace_bytes=choose_workspace(job.options.workspace_bytes, gpu),
            calibration=str(paths.calibration or ""),
            inputs=job.inputs,
            keep_fp32=keep,
            optimization_level=job.options.optimization_level,
            dla_core=job.options.dla_core,
            tactic_sources=self._tactic_sources,
            profiles=_profiles(job),
            cache_folder=str(paths.cache or folder / "cache"),
        )

    def _measure(
        self, job: BuildJob, built: BuiltEngine, gpu: Gpu, progress: Progress
    ) -> tuple[dict[str, Any], dict[str, float]]:
        """Return where an inference's time goes, what CUDA graph replay would make of it, and each layer's time.

        Raises EngineError.
        """
        identity = _provisional(job, built)
        plan = OpenPlan(built.file, gpu, dla_core=job.options.dla_core)
        try:
            runner = TensorRtRunner(plan, identity)
            try:
                found = breakdown(runner, job.bench_seconds, self._root)
                plain = host_percentiles(runner, job.bench_seconds / 3)
            finally:
                runner.close()
            graph = _graph_latency(plan, identity, job.bench_seconds / 3)
            times = layer_times(plan, identity)
        finally:
            plan.close()
        progress(
            f"GPU: in {found['h2d_ms']['p50']:.3f}, kernels {found['compute_ms']['p50']:.3f}, "
            f"out {found['d2h_ms']['p50']:.3f} ms; host {plain.p50:.3f} ms"
            + (f", as a CUDA graph {graph:.3f} ms" if isinstance(graph, float) else "")
        )
        return {"gpu_latency": found, "host_p50_ms": plain.p50, "cuda_graph_host_p50_ms": graph}, times

    def load(self, engine_dir: Path, threads: int = 1, *, cuda_graph: bool = False) -> TensorRtRunner:  # noqa: ARG002
        """Check the engine in ``engine_dir`` against its sidecar and this device, load it and run it once.

        ``threads`` is for CPU backends. Raises EngineError.
        """
        identity, files = load_engine_dir(engine_dir)
        check_engine(identity, self.name, self.device_facts(), plan=files.engine, jetson=read_jetson(self._root))
        plan = OpenPlan(files.engine, find_gpu(), dla_core=identity.dla_core)
        try:
            return TensorRtRunner(plan, identity, cuda_graph=cuda_graph)
        finally:
            plan.close()  # the runner holds it now


def _profiles(job: BuildJob) -> tuple[tuple[ShapeRange, ...], ...]:
    """Return the one optimization profile of a job whose inputs have ranges. Raises EngineError."""
    ranges = tuple(ShapeRange(s.name, s.min_shape, s.shape, s.max_shape) for s in job.inputs if has_range(s))
    if ranges and job.options.dla_core is not None:
        raise EngineError(
            "unsupported",
            f"input {ranges[0].name!r} has a range of shapes, and the DLA supports one shape only",
            "give the input one shape, or leave dla_core out",
        )
    return (ranges,) if ranges else ()


def _graph_latency(plan: OpenPlan, identity: EngineIdentity, seconds: float) -> float | str:
    """Return the host's p50 with CUDA graph replay, or why there is none."""
    try:
        runner = TensorRtRunner(plan, identity, cuda_graph=True)
    except EngineError as error:
        return error.message
    try:
        return host_percentiles(runner, seconds).p50
    finally:
        runner.close()


def _built(job: BuildJob, plan: Path, answer: PlanAnswer, layers: list[LayerFacts], notes: list[str]) -> BuiltEngine:
    from runtime.engines.graph.preprocess import engine_input

    every, main = count_layers(layers)
    there = {spec.name: spec for spec in (*answer.inputs, *answer.outputs)}
    missing = [spec.name for spec in (*job.inputs, *job.outputs) if spec.name not in there]
    if missing:
        raise EngineError(
            "bad-model", f"the engine has no tensor {missing[0]!r}", "name the model's inputs and outputs"
        )
    inputs = tuple(replace(engine_input(spec), dtype=there[spec.name].dtype) for spec in job.inputs)
    outputs = tuple(there[spec.name] for spec in job.outputs)
    _check_outputs(job.outputs, outputs)
    slower = others(layers, job.precision)
    found = list(notes) + list(answer.notes)
    if slower and job.precision != "fp32":
        named = ", ".join(slower[:_MOST_NAMED])
        found.append(f"{len(slower)} of {sum(main.values())} main layers do not run at {job.precision}: {named}")
    if answer.dla_fallback:
        found.append(f"{len(answer.dla_fallback)} layers run on the GPU, not the DLA: {_some(answer.dla_fallback)}")
    return BuiltEngine(plan, inputs, outputs, every, main, tuple(found))


def _check_outputs(declared: tuple[TensorSpec, ...], found: tuple[TensorSpec, ...]) -> None:
    for want, have in zip(declared, found, strict=True):
        if want.shape and want.shape != have.shape:
            raise EngineError(
                "bad-model",
                f"output {want.name!r} is {list(have.shape)}, the job says {list(want.shape)}",
                "correct the declared shape, or leave it out",
            )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _facts(
    request: PlanRequest, answer: PlanAnswer, capabilities: Capabilities, gpu: Gpu, timing: TimingFacts
) -> dict[str, Any]:
    return {
        "gpu": gpu.name,
        "compute_capability": gpu.compute_capability,
        "strongly_typed": answer.strongly_typed,
        "calibrator": request.calibrator,
        "calibration_cached": answer.calibration_cached,
        "tensorrt_seconds": answer.seconds,
        "workspace_bytes": request.workspace_bytes,
        "optimization_level": request.optimization_level if capabilities.optimization_level else None,
        "tactic_sources": list(request.tactic_sources),
        "timing_cache": {
            "key": request.timing_key,
            "bytes_in": answer.timing_cache_in,
            "bytes": answer.timing_cache_out,
            "given": len(request.timing_given),
            "refused": answer.timing_refused,
            "facts": to_dict(timing),
        },
        "dla_fallback": list(answer.dla_fallback),
    }


def _provisional(job: BuildJob, built: BuiltEngine) -> EngineIdentity:
    """Return a sidecar to run the new plan with, before there is a real one."""
    return EngineIdentity(
        job.key, job.model, "tensorrt", job.precision, built.file.name, "", 0, job.device, built.inputs, built.outputs,
        AccuracyGate(),
    )  # fmt: skip


def _calibration_key(timing: TimingFacts, graph: str, calibration: Path | None) -> str:
    data = _digest_of(calibration) if calibration is not None else ""
    return calibration_key(timing_name(timing), sha256_of(Path(graph)), data)


def _timing_notes(offered: int, request: PlanRequest, answer: PlanAnswer) -> tuple[str, ...]:
    """Return what became of timing caches that were offered and not used."""
    if offered and not request.timing_given:
        return ("the timing caches that were given were left out: with them the building process crashed",)
    if answer.timing_refused:
        return (f"{answer.timing_refused} of {offered} timing caches do not fit TensorRT and device here: left out",)
    return ()


def _digest_of(calibration: Path) -> str:
    """Return one digest over a calibration set: its files' names and bytes."""
    import hashlib

    digest = hashlib.sha256()
    files = sorted(calibration.rglob("*")) if calibration.is_dir() else [calibration]
    for file in files:
        if file.is_file():
            digest.update(f"{file.name}\0{sha256_of(file)}\0".encode())
    return digest.hexdigest()
