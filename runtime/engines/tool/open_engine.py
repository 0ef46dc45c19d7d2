"""Something to run, from a path: an engine's folder, a bare ONNX file, a bare TensorRT plan."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from runtime.contract.engine.build import (
    GOLDEN_FILE,
    IDENTITY_FILE,
    AccuracyGate,
    DeviceFacts,
    EngineIdentity,
    TensorSpec,
)
from runtime.contract.engine.engine_tool import USAGE, Shapes
from runtime.engines.backend import Runner, backend_named
from runtime.engines.device.preflight import this_platform
from runtime.engines.errors import EngineError
from runtime.engines.store import load_engine_dir
from runtime.engines.tool.file_kind import ENGINE, ONNX, REPORT, kind_of

AS_EXPORTED = "as exported"
"""Stands for the precision of a file that carries no claim."""


@dataclass(frozen=True)
class Opened:
    """A loaded engine. Owned by one thread; close its runner."""

    path: Path
    identity: EngineIdentity
    runner: Runner
    load_ms: float
    golden: Path | None
    """Golden data beside it."""


def open_engine(path: Path, *, threads: int = 1, cuda_graph: bool = False, shapes: Shapes | None = None) -> Opened:
    """Check and load what is at ``path``, and run it once. Raises EngineError."""
    kind, there = kind_of(path)
    if kind == REPORT:
        raise EngineError(USAGE, f"{path} is a report: there is nothing in it to run", "give the engine's folder")
    started = time.perf_counter()
    if kind == ENGINE:
        _refuse_shapes(there, shapes)
        runner = _load(there, threads, cuda_graph)
    elif kind == ONNX:
        _refuse_graph(cuda_graph)
        runner = _onnx_runner(there, threads, shapes or {})
    else:
        runner = _plan_runner(there, cuda_graph, shapes or {})
    load_ms = (time.perf_counter() - started) * 1e3
    golden = there / GOLDEN_FILE if kind == ENGINE else None
    return Opened(path, runner.identity, runner, load_ms, golden)


def _load(folder: Path, threads: int, cuda_graph: bool) -> Runner:
    identity, _ = load_engine_dir(folder)
    backend = backend_named(identity.backend)
    if not cuda_graph:
        return backend.load(folder, threads)
    if identity.backend != "tensorrt":
        _refuse_graph(cuda_graph)
    from runtime.engines.tensorrt_.backend import TensorRtBackend

    return TensorRtBackend().load(folder, cuda_graph=True)


def _refuse_graph(cuda_graph: bool) -> None:
    if cuda_graph:
        raise EngineError(USAGE, "only TensorRT engines can be replayed as a CUDA graph", "leave --cuda-graph out")


def _refuse_shapes(folder: Path, shapes: Shapes | None) -> None:
    if shapes:
        raise EngineError(
            USAGE, f"{folder} is an engine: it runs at the shapes of its {IDENTITY_FILE}", "leave --shape out"
        )


def _onnx_runner(file: Path, threads: int, shapes: Shapes) -> Runner:
    """Open an ONNX file as it was exported, with ONNX Runtime."""
    from runtime.engines.graph.normalize import load_source, require_arrays, session_source
    from runtime.engines.onnxruntime_.runner import OnnxRuntimeRunner
    from runtime.engines.onnxruntime_.session import open_session, shape_of
    from runtime.engines.tool.onnx_facts import check_names, facts_of, fixed_shape

    backend_named("onnxruntime")
    model = load_source(file)
    require_arrays(model)
    facts = facts_of(model)
    check_names(shapes, [tensor.name for tensor in facts.inputs])
    inputs = tuple(TensorSpec(tensor.name, fixed_shape(tensor, shapes), tensor.dtype) for tensor in facts.inputs)
    session = open_session(session_source(file), threads)
    names = [tensor.name for tensor in facts.outputs]
    try:
        values = session.run(names, {spec.name: np.zeros(spec.shape, np.dtype(spec.dtype)) for spec in inputs})
    except Exception as error:  # onnxruntime's exceptions have no common base of their own
        said = str(error).strip()[:300]
        raise EngineError(
            "bad-model", f"{file.name} does not run on an empty frame: {said}", "check the shapes that it is given"
        ) from error
    outputs = tuple(
        TensorSpec(node.name, shape_of(node.shape, value.shape), str(value.dtype))
        for node, value in zip(session.get_outputs(), values, strict=True)
    )
    identity = _bare(file, "onnxruntime", DeviceFacts(this_platform()))
    runner = OnnxRuntimeRunner(session, replace(identity, inputs=inputs, outputs=outputs))
    runner.infer()
    return runner


def _plan_runner(file: Path, cuda_graph: bool, shapes: Shapes) -> Runner:
    backend = backend_named("tensorrt")
    from runtime.engines.tensorrt_.run.bare import load_plan

    return load_plan(file, _bare(file, "tensorrt", backend.device_facts()), shapes, cuda_graph=cuda_graph)


def _bare(file: Path, backend: str, here: DeviceFacts) -> EngineIdentity:
    """Return an identity that claims nothing but what the file is."""
    size = file.stat().st_size
    return EngineIdentity("", file.stem, backend, AS_EXPORTED, file.name, "", size, here, (), (), AccuracyGate())
